"""Change the colors of each image by random factors."""

import torch
from torch import Tensor, nn

from cleanse.utils.checked import Checked


class ColorJitter(Checked, nn.Module):
    """Change brightness, contrast, saturation and hue of each image, with strengths that are drawn too.

    CJ of Pal et al. 2023, Figure 1: "we randomly choose brightness, contrast, saturation between 0.4-0.8 and hue
    between 0.1-0.2", read as the arguments of torchvision's and Kornia's ``ColorJitter`` (D161). Each image draws its
    strength x of each of the four; the factor is then uniform in 1 - x to 1 + x, and the shift of the hue in -x to x.
    The operations are those of `kornia.augmentation.ColorJitter`, in one order for the whole batch.

    Shapes: (B, C, H, W) float in [0, 1] -> the same. Images of one channel change brightness and contrast.

    Args:
        brightness: smallest and largest strength, as for the next two.
        contrast: see above.
        saturation: see above.
        hue: smallest and largest strength, in turns of the color circle.

    Raises:
        ValueError: an argument out of range, or images of neither 1 channel nor 3.

    >>> jitter = ColorJitter(brightness=(0, 0), contrast=(0, 0), saturation=(0, 0), hue=(0, 0))
    >>> jitter(torch.full((1, 1, 2, 2), 0.5)).unique()
    tensor([0.5000])
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
            if not 0 <= value[0] <= value[1] <= 1:
                raise ValueError(f"{name} is two strengths, between 0 and 1 and in order, not {value}")
        if not 0 <= hue[0] <= hue[1] <= 0.5:
            raise ValueError(f"hue is two strengths in turns, between 0 and 0.5 and in order, not {hue}")
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue

    def forward(self, image: Tensor) -> Tensor:
        import kornia.augmentation as K  # slow to import, so only when it is used

        channels = image.shape[1]
        if channels not in (1, 3):
            raise ValueError(f"color operations need images of 1 channel (gray) or 3 (RGB), not {channels}")
        count = len(image)

        def change(strength: tuple[float, float]) -> Tensor:
            largest = strength[0] + (strength[1] - strength[0]) * torch.rand(count)
            return largest * (2 * torch.rand(count) - 1)

        jitter = K.ColorJitter(*([(0.0, 2.0)] * 3), hue=(-0.5, 0.5))  # its ranges hold all that is drawn here
        drawn = jitter.forward_parameters(torch.Size((count, 3, *image.shape[2:])))
        drawn["brightness_factor"] = 1 + change(self.brightness)
        drawn["contrast_factor"] = 1 + change(self.contrast)
        drawn["saturation_factor"] = 1 + change(self.saturation)
        drawn["hue_factor"] = change(self.hue)
        colored: Tensor = jitter(image.expand(-1, 3, -1, -1), params=drawn)
        return colored[:, :channels]

    def extra_repr(self) -> str:
        return f"brightness={self.brightness}, contrast={self.contrast}, saturation={self.saturation}, hue={self.hue}"
