"""Colors and gray levels."""

import torch
from torch import Tensor

from cleanse.data.mapped import per_chunk


def has_color(image: Tensor) -> bool:
    """Whether the channels of any image (N, C, H, W) differ."""
    return any(bool((part != part[:, :1]).any()) for part in torch.split(image, per_chunk(image)))


def to_gray(image: Tensor) -> Tensor:
    """Luminance (ITU-R 601, in Pillow's integers) of (N, 3, H, W) uint8, (N, 1, H, W); gray levels stay as they are."""
    red, green, blue = (image[:, c : c + 1].int() for c in range(3))
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)
