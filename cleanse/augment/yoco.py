"""Augment the two halves of an image independently."""

from typing import Literal

import torch
from torch import Tensor, nn

from cleanse.augment._batch import check_batch
from cleanse.utils.checked import Checked

Axis = Literal["height", "width"]


class YOCO(Checked, nn.Module):
    """You Only Cut Once: cut images in two, augment the halves independently, join them.

    Han et al., ICML 2022, arXiv 2201.12078. The published code chooses the axis at random for each batch; Pal
    et al. 2023 average over both, so that the axis is an argument here (D164).

    Shapes: (B, C, H, W) float -> the same. Of an odd number of pixels, the second half has one more.

    Args:
        inner: the augmentation of the halves; images (B, C, H, W) to the same.
        axis: which side is cut in two: the ``width`` (left and right half) or the ``height`` (upper and lower half).

    Raises:
        ValueError: another axis; images that are not a float batch, have a side of one pixel, or change their size.

    >>> from kornia.augmentation import RandomHorizontalFlip
    >>> YOCO(RandomHorizontalFlip(p=1.0))(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])).tolist()
    [[[[2.0, 1.0, 4.0, 3.0]]]]
    """

    def __init__(self, inner: nn.Module, axis: Axis = "width") -> None:
        super().__init__()
        self.inner = inner
        self.axis = axis

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        dim = 2 if self.axis == "height" else 3
        length = image.shape[dim]
        if length < 2:
            raise ValueError(f"images of {tuple(image.shape[2:])} pixels cannot be cut in two along their {self.axis}")
        halves = [self.inner(half) for half in torch.split(image, [length // 2, length - length // 2], dim)]
        out = torch.cat(halves, dim)
        if out.shape != image.shape:
            raise ValueError(f"{type(self.inner).__name__} changes the size of the halves: YOCO cannot join them")
        return out

    def extra_repr(self) -> str:
        return f"axis={self.axis!r}"
