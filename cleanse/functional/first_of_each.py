"""Copies of one image under one label count once."""

from typing import NamedTuple

import torch
from torch import Tensor


class Firsts(NamedTuple):
    """The first image of each kind, and the way back."""

    rows: Tensor
    """(m,) int64, positions of the first of each kind, ascending."""

    back: Tensor
    """(n,) int64, for each image the place of its kind's first among `rows`."""


def first_of_each(group: Tensor, label: Tensor) -> Firsts:
    """The first image of each pair of group and label.

    Thirty copies of an image under one label would outvote its neighbors. What is found for the first holds for all:
    they are the same picture under the same label. Copies under different labels stay, each with one vote.

    Args:
        group: (n,) int64, equal where the images are.
        label: (n,) int64.

    Returns:
        Rows and the way back: ``value[rows][back]`` gives each image the value of its kind.

    Raises:
        ValueError: other shapes.

    >>> first_of_each(torch.tensor([0, 1, 0, 0]), torch.tensor([5, 5, 5, 7])).rows.tolist()
    [0, 1, 3]
    """
    if group.ndim != 1 or group.shape != label.shape:
        raise ValueError(f"group and label are both (n,), not {tuple(group.shape)} and {tuple(label.shape)}")
    _, kind = torch.unique(torch.stack([group, label.to(group.device)]), dim=1, return_inverse=True)
    first = torch.full((int(kind.max()) + 1 if len(kind) else 0,), len(kind), device=kind.device)
    first.scatter_reduce_(0, kind, torch.arange(len(kind), device=kind.device), "amin")
    rows, order = first.sort()
    return Firsts(rows, order.argsort()[kind])
