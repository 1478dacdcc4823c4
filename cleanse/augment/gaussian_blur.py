"""Blur images, each by its own amount."""

import torch
from torch import Tensor
from torch.nn import functional as F


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
