"""Decoder: from a code back to an image."""

import math

from torch import Tensor, nn
from torch.nn.functional import interpolate


class Decoder(nn.Module):
    """A code becomes a small map of 8 * width channels, which three stages double in size and halve in channels.

    The mirror image of an encoder of four stages: nearest-neighbor upsampling and a 3x3 convolution with batch norm
    and ReLU in each stage, then a 3x3 convolution to the image and a sigmoid.

    Shapes: codes (B, dimension) -> images (B, channels, height, width) in [0, 1].

    Args:
        dimension: of the code.
        channels: of the images.
        height, width: of the images, any size.
        base: channels of the last stage.

    >>> import torch
    >>> Decoder(128, 3, 28, 20)(torch.zeros(2, 128)).shape
    torch.Size([2, 3, 28, 20])
    """

    def __init__(self, dimension: int, channels: int, height: int, width: int, base: int = 64) -> None:
        super().__init__()
        self.size, self.start = (height, width), (8 * base, math.ceil(height / 8), math.ceil(width / 8))
        self.first = nn.Linear(dimension, math.prod(self.start))
        stages: list[nn.Module] = []
        for wide in (8 * base, 4 * base, 2 * base):
            stages += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(wide, wide // 2, 3, padding=1, bias=False),
                nn.BatchNorm2d(wide // 2),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*stages, nn.Conv2d(base, channels, 3, padding=1))

    def forward(self, code: Tensor) -> Tensor:
        image: Tensor = self.body(self.first(code).unflatten(1, self.start))
        if image.shape[2:] != self.size:
            image = interpolate(image, self.size, mode="bilinear", align_corners=False)
        return image.sigmoid()
