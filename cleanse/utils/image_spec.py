"""The shape of a data set, in one value."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ImageSpec:
    """What a network and its normalization need to know of a data set; views offer it as ``image_spec``.

    Attributes:
        channels: 1 (gray) or 3 (RGB).
        num_classes: C.
        mean: of each channel, of images in [0, 1].
        std: of each channel, of images in [0, 1].
        size: (height, width) in pixels.

    >>> ImageSpec(3, 10, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), (32, 32)).num_classes
    10
    """

    channels: int
    num_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: tuple[int, int]
