"""Where each number lies among those of the other classes, as a normal distribution would have it."""

import math

import torch
from torch import Tensor


def normal_scores(value: Tensor, label: Tensor) -> Tensor:
    """The normal quantile of each value's rank among the values of all other classes.

    Rank-based (van der Waerden 1952): 0 for what is usual elsewhere, 2.3 for what one in a hundred exceeds there.
    Equal values share the middle of their ranks.

    Args:
        value: (n,) float.
        label: (n,) int64.

    Returns:
        (n,) float; 0 where there is no other class.

    Raises:
        ValueError: other shapes.

    >>> value = torch.tensor([0.0, 9.0, 1.0, 2.0, 3.0])
    >>> [round(score, 2) for score in normal_scores(value, torch.tensor([0, 0, 1, 1, 1])).tolist()]
    [-1.15, 1.15, 0.0, 0.0, 0.0]
    """
    if value.ndim != 1 or value.shape != label.shape:
        raise ValueError(f"value and label are both (n,), not {tuple(value.shape)} and {tuple(label.shape)}")
    place, size = _places(value, value), label.bincount()
    for rows in torch.split(label.argsort(stable=True), size.tolist()):
        place[rows] -= _places(value[rows], value[rows])  # those of the own class do not count
    rank = (place / 2 + 0.5) / (len(label) - size[label] + 1)
    return math.sqrt(2) * torch.erfinv(2 * rank - 1)


def _places(value: Tensor, among: Tensor) -> Tensor:
    """How many of ``among`` are smaller, plus how many are not larger."""
    ascending = among.sort().values
    return torch.searchsorted(ascending, value) + torch.searchsorted(ascending, value, right=True)
