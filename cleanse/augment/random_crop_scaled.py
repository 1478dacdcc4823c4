"""Cut out a part of each image of one size, at a random place, and enlarge it."""

from typing import Literal

from torch import Tensor, nn

from cleanse.utils.checked import Checked

Reading = Literal["area", "side"]


class RandomCropScaled(Checked, nn.Module):
    """Crop a given part of each image at a uniformly random place and resize it back, bilinear.

    RCS of Pal et al. 2023, Figure 1. "Cropping 0.5 part of the image" may mean half its area or half its side (D160):
    23 or 16 of the 32 pixels of CIFAR-10. `AugmentationStudy` reports which is closer to the paper's standard accuracy.
    It is Kornia's ``RandomCrop`` and ``Resize``, for images of any size.

    Shapes: (B, C, H, W) float -> the same; the crop has the image's shape, square for a square image.

    Args:
        share: how much of the image remains, in (0, 1].
        reading: what the share is of, the image's ``area`` or its ``side``.

    Raises:
        ValueError: an argument out of range.

    >>> RandomCropScaled(0.5, "side").crop(32, 32), RandomCropScaled(0.5, "area").crop(32, 32)
    ((16, 16), (23, 23))
    """

    def __init__(self, share: float = 0.5, reading: Reading = "side") -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share is the part of the image that remains, in (0, 1], not {share}")
        self.share = share
        self.reading = reading

    def crop(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what is cut out of an image, in whole pixels and at least one."""
        factor = self.share if self.reading == "side" else self.share**0.5
        return max(1, round(factor * height)), max(1, round(factor * width))

    def forward(self, image: Tensor) -> Tensor:
        import kornia.augmentation as K  # slow to import, so only when it is used

        height, width = image.shape[2:]
        crop = self.crop(height, width)
        if crop == (height, width):
            return image
        enlarged: Tensor = K.Resize((height, width), align_corners=False)(K.RandomCrop(crop)(image))
        return enlarged

    def extra_repr(self) -> str:
        return f"share={self.share}, reading={self.reading!r}"
