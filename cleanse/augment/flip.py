"""Mirror images, at random or all of them."""

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch, like


def flip(image: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the ``chosen`` (B,) bool of the images (B, C, H, W) left to right.

    >>> flip(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([True])).tolist()
    [[[[1.0, 0.0]]]]
    """
    return torch.where(chosen[:, None, None, None], image.flip(-1), image)


class Flip(nn.Module):
    """Mirror each image left to right with probability ``p``, as Kornia's ``RandomHorizontalFlip``.

    Shapes: (B, C, H, W) float -> the same.

    Args:
        p: probability, in [0, 1].

    Raises:
        ValueError: if ``p`` is not in [0, 1], or the images are not a float batch.

    >>> Flip(p=1.0)(torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [[[[1.0, 0.0]]]]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability between 0 and 1, not {p}")
        self.p = p

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        return like(flip(image, torch.rand(len(image), device=image.device) < self.p), image)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class HorizontalFlip(nn.Module):
    """Mirror every image left to right (HFlip of Pal et al. 2023, Figure 1).

    Shapes: (B, C, H, W) float -> the same.

    Raises:
        ValueError: the images are not a float batch.

    >>> HorizontalFlip()(torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [[[[1.0, 0.0]]]]
    """

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        return like(image.flip(-1), image)


class VerticalFlip(nn.Module):
    """Turn every image upside down (VFlip of Pal et al. 2023, Figure 1; always, D167).

    Shapes: (B, C, H, W) float -> the same.

    Raises:
        ValueError: the images are not a float batch.

    >>> VerticalFlip()(torch.tensor([[[[0.0], [1.0]]]])).tolist()
    [[[[1.0], [0.0]]]]
    """

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        return like(image.flip(-2), image)
