"""Add Gaussian noise to images."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like


class GaussianNoise(nn.Module):
    """Add noise to every value of every image, then clip to [0, 1] (GNoise of Pal et al. 2023, Figure 1).

    The paper names variances and no range; ours are of images in [0, 1] (D162).

    Shapes: (B, C, H, W) float -> the same.

    Args:
        variance: of the noise; paper: 0.2, 0.5, 0.7 and 1.0.

    Raises:
        ValueError: a negative variance, or images that are not a float batch.

    >>> GaussianNoise(variance=0.0)(torch.tensor([[[[0.0, 0.25]]]])).tolist()
    [[[[0.0, 0.25]]]]
    """

    def __init__(self, variance: float = 0.2) -> None:
        super().__init__()
        if not variance >= 0:
            raise ValueError(f"variance is 0 or more, not {variance}")
        self.variance = variance

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        noise = torch.randn(image.shape, device=image.device)  # not randn_like: its order follows the memory format
        return like((image.float() + self.variance**0.5 * noise).clamp(0, 1).to(image.dtype), image)

    def extra_repr(self) -> str:
        return f"variance={self.variance}"
