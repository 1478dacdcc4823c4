"""Cover a part of each image."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like


class CutOut(nn.Module):
    """Cover a square at a random place of each image with black (CutOut of Pal et al. 2023, Figure 1; D163).

    DeVries and Taylor, 2017, arXiv 1708.04552: the square's center is any pixel, so that a part of the square may lie
    outside of the image. Kornia's and torchvision's ``RandomErasing`` keep it inside.

    Departures: black, not the data's mean, since images are normalized after the augmentation.

    Shapes: (B, C, H, W) float -> the same.

    Args:
        share: side of the square / the image's shorter side; DeVries and Taylor: 16 of CIFAR-10's 32 pixels.

    Raises:
        ValueError: a share out of range, or images that are not a float batch.

    >>> int((CutOut(share=1.0)(torch.ones(1, 1, 4, 4)) == 0).sum()) >= 4
    True
    """

    def __init__(self, share: float = 0.5) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share is a part of the image's side, in (0, 1], not {share}")
        self.share = share

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        count, _, height, width = image.shape
        side = max(1, round(self.share * min(height, width)))
        top = torch.randint(height, (count, 1, 1, 1), device=image.device) - side // 2
        left = torch.randint(width, (count, 1, 1, 1), device=image.device) - side // 2
        row = torch.arange(height, device=image.device)[:, None] - top  # (B, 1, H, 1), counted from the square
        column = torch.arange(width, device=image.device) - left  # (B, 1, 1, W)
        covered = (row >= 0) & (row < side) & (column >= 0) & (column < side)
        return like(image.masked_fill(covered, 0), image)

    def extra_repr(self) -> str:
        return f"share={self.share}"
