"""Training on images that may hide a backdoor: a verdict for every image, the cleansed set, a clean classifier."""

from cleanse.version import __version__

__all__ = ["__version__"]
