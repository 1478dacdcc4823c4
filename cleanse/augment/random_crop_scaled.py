"""Cut out a part of each image of one size, at a random place, and enlarge it."""

from typing import Literal

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like
from cleanse.augment.resized_crop import resized_crop

Reading = Literal["area", "side"]


class RandomCropScaled(nn.Module):
    """Crop a given part of each image at a uniformly random place and resize it back, bilinear.

    RCS of Pal et al. 2023, Figure 1. "Cropping 0.5 part of the image" may mean half its area or half its side (D160):
    23 or 16 of the 32 pixels of CIFAR-10. `AugmentationStudy` reports which is closer to the paper's standard accuracy.

    Shapes: (B, C, H, W) float -> the same; the crop has the image's shape, square for a square image.

    Args:
        share: how much of the image remains, in (0, 1].
        reading: what the share is of, the image's ``area`` or its ``side``.

    Raises:
        ValueError: an argument out of range, or images that are not a float batch.

    >>> RandomCropScaled(0.5, "side").crop(32, 32), RandomCropScaled(0.5, "area").crop(32, 32)
    ((16, 16), (23, 23))
    """

    def __init__(self, share: float = 0.5, reading: Reading = "side") -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share is the part of the image that remains, in (0, 1], not {share}")
        if reading not in ("area", "side"):
            raise ValueError(f"reading is area or side, not {reading!r}")
        self.share, self.reading = share, reading

    def crop(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is cut out of an image, in whole pixels and at least one."""
        factor = self.share if self.reading == "side" else self.share**0.5
        return max(1, round(factor * height)), max(1, round(factor * width))

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        count, _, height, width = image.shape
        rows, columns = self.crop(height, width)
        if (rows, columns) == (height, width):
            return image
        box = torch.tensor([0, 0, rows, columns], device=image.device).repeat(count, 1)
        box[:, 0] = torch.randint(height - rows + 1, (count,), device=image.device)
        box[:, 1] = torch.randint(width - columns + 1, (count,), device=image.device)
        flipped = torch.zeros(count, dtype=torch.bool, device=image.device)
        return like(resized_crop(image, box, flipped).clamp(0, 1), image)

    def extra_repr(self) -> str:
        return f"share={self.share}, reading={self.reading!r}"
