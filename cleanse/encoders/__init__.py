"""Encoders that somebody else has trained: frozen, one pass over the images."""

from cleanse.encoders.pretrained import Pretrained

__all__ = ["Pretrained"]
