"""Blur images, each by its own amount or all alike."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cleanse.augment._batch import check_batch, like


def gaussian_blur(image: Tensor, sigma: Tensor, size: int) -> Tensor:
    """Blur as torchvision's ``gaussian_blur``: a Gaussian of ``size`` pixels a side, the image mirrored at its edges.

    Args:
        image: (B, C, H, W) float; computed in float32.
        sigma: (B,), in pixels; 0 leaves an image as it is.
        size: of the kernel; odd, and at most 2 * min(H, W) - 1.

    Returns:
        (B, C, H, W) of the images' type.

    >>> image = torch.tensor([[[[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]])
    >>> gaussian_blur(image, torch.tensor([0.5]), size=3)[0, 0, 1]
    tensor([0.1676, 0.6193, 0.1676])
    """
    half, (height, width) = size // 2, image.shape[2:]
    offset = torch.arange(-half, half + 1, device=image.device)
    # A sigma of 0 is one small enough for the neighbors' weights to be exactly 0.
    weight = (-0.5 * (offset / sigma.float().clamp(min=1e-3)[:, None]) ** 2).softmax(1)[:, :, None, None, None]
    # Sums of shifted images, not convolutions, which autocast would compute in bfloat16.
    padded = F.pad(image.float(), [half] * 4, "reflect")
    rows = torch.stack([weight[:, i] * padded[:, :, i : i + height] for i in range(size)]).sum(0)
    return torch.stack([weight[:, i] * rows[..., i : i + width] for i in range(size)]).sum(0).to(image.dtype)


class GaussianBlur(nn.Module):
    """Blur every image alike (GBlur_kernel_sigma of Pal et al. 2023, Figure 1), as torchvision's ``gaussian_blur``.

    Departures: the paper counts the blur among the stochastic augmentations; with one standard deviation, as the
    figure's names say, there is nothing to draw (D166).

    Shapes: (B, C, H, W) float -> the same.

    Args:
        kernel: side in pixels; odd.
        sigma: standard deviation in pixels.

    Raises:
        ValueError: an argument out of range, images that are not a float batch or too small for the kernel.

    >>> GaussianBlur(kernel=3, sigma=1.0)(torch.full((1, 1, 4, 4), 0.5)).unique()
    tensor([0.5000])
    """

    def __init__(self, kernel: int = 3, sigma: float = 1.0) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel is an odd number of pixels, not {kernel}")
        if not sigma > 0:
            raise ValueError(f"sigma is a standard deviation above 0, not {sigma}")
        self.kernel, self.sigma = kernel, sigma

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        if self.kernel > 2 * min(image.shape[2:]) - 1:
            height, width = image.shape[2:]
            raise ValueError(
                f"a blur of {self.kernel} pixels is too wide for images of {height} x {width}: lower kernel"
            )
        sigma = torch.full((len(image),), float(self.sigma), device=image.device)
        return like(gaussian_blur(image, sigma, self.kernel).clamp(0, 1), image)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, sigma={self.sigma}"
