"""Encoders that somebody else has trained: frozen, one pass over the images."""

from cleanse.encoders.efficientnet_lite import EfficientNetLite
from cleanse.encoders.frozen import FrozenEncoder
from cleanse.encoders.pretrained import Pretrained
from cleanse.encoders.timm import Timm

__all__ = ["EfficientNetLite", "FrozenEncoder", "Pretrained", "Timm"]
