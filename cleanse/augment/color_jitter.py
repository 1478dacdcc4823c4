"""Change the colors of each image by random factors."""

from torch import Tensor, nn


class ColorJitter(nn.Module):
    """Change brightness, contrast, saturation and hue of each image by its own factors.

    CJ of Pal et al. 2023, Figure 1: "we randomly choose brightness, contrast, saturation between 0.4-0.8 and hue
    between 0.1-0.2", read as the factors themselves. The operations are those of `kornia.augmentation.ColorJitter`, in
    one order for the whole batch.

    Shapes: (B, C, H, W) float in [0, 1] -> the same. Images of one channel change brightness and contrast.

    Args:
        brightness: smallest and largest factor, as for the next two; 1 changes nothing.
        contrast: see above.
        saturation: see above.
        hue: smallest and largest shift, in turns of the color circle.

    Raises:
        ValueError: an argument out of range, or images of neither 1 channel nor 3.

    >>> import torch
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
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def forward(self, image: Tensor) -> Tensor:
        import kornia.augmentation as K  # slow to import, so only when it is used

        channels = image.shape[1]
        if channels not in (1, 3):
            raise ValueError(f"color operations need images of 1 channel (gray) or 3 (RGB), not {channels}")
        jitter = K.ColorJitter(self.brightness, self.contrast, self.saturation, self.hue)
        colored: Tensor = jitter(image.expand(-1, 3, -1, -1))
        return colored[:, :channels]

    def extra_repr(self) -> str:
        return f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"
