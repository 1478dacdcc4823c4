"""Change the colors of each image by random factors."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like
from cleanse.augment.adjust_color import adjust_color


class ColorJitter(nn.Module):
    """Change brightness, contrast, saturation and hue of each image by its own factors, in its own order (CJ).

    Pal et al. 2023 (section 3): "brightness, contrast, saturation between 0.4-0.8 and hue between 0.1-0.2", read as the
    factors themselves. The operations are torchvision's.

    Shapes: (B, C, H, W) float -> the same. With one channel, saturation and hue do nothing.

    Args:
        brightness, contrast, saturation: smallest and largest factor; 1 changes nothing.
        hue: smallest and largest shift, in turns of the color circle.

    Raises:
        ValueError: an argument out of range, or images that are not a float batch of 1 channel or 3.

    >>> jitter = ColorJitter(brightness=(0.5, 0.5), contrast=(1, 1), saturation=(1, 1), hue=(0, 0))
    >>> jitter(torch.ones(1, 1, 1, 1)).item()
    0.5
    """

    def __init__(
        self,
        brightness: tuple[float, float] = (0.4, 0.8),
        contrast: tuple[float, float] = (0.4, 0.8),
        saturation: tuple[float, float] = (0.4, 0.8),
        hue: tuple[float, float] = (0.1, 0.2),
    ) -> None:
        super().__init__()
        for name, value in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
            if not 0 <= value[0] <= value[1]:
                raise ValueError(f"{name} is two factors, 0 or more and in order, not {value}")
        if not -0.5 <= hue[0] <= hue[1] <= 0.5:
            raise ValueError(f"hue is two shifts in turns, between -0.5 and 0.5 and in order, not {hue}")
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        brightness, contrast, saturation, hue = (
            low + (high - low) * torch.rand(len(image), device=image.device)
            for low, high in (self.brightness, self.contrast, self.saturation, self.hue)
        )
        order = torch.rand(len(image), 4, device=image.device).argsort(1)
        return like(adjust_color(image, brightness, contrast, saturation, hue, order).clamp(0, 1), image)

    def extra_repr(self) -> str:
        return f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"
