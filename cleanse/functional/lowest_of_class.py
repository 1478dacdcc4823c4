"""The images of each class that a score places lowest."""

import torch
from torch import Tensor


def lowest_of_class(value: Tensor, label: Tensor, count: int) -> Tensor:
    """The ``count`` rows of lowest value of every class, or all of a class that has no more.

    Of equal values the one that comes first.

    Args:
        value: (n,) float; no NaN.
        label: (n,) int64; rows with -1 are of no class.
        count: of each class.

    Returns:
        (n,) bool.

    Raises:
        ValueError: rows that do not match, NaN, or a negative count.

    >>> lowest_of_class(torch.tensor([3.0, 1.0, 2.0, 5.0]), torch.tensor([0, 0, 0, 1]), 2)
    tensor([False,  True,  True,  True])
    """
    if value.ndim != 1 or value.shape != label.shape:
        raise ValueError(f"value and label are (n,), not {tuple(value.shape)} and {tuple(label.shape)}")
    if value.isnan().any():
        raise ValueError(f"value: {int(value.isnan().sum())} of {len(value)} are not a number, and have no rank")
    if count < 0:
        raise ValueError(f"count is a number of rows, 0 or more, not {count}")
    chosen = torch.zeros_like(label, dtype=torch.bool)
    order = value.argsort(stable=True)
    for c in torch.unique(label[label >= 0]):
        chosen[order[label[order] == c][:count]] = True
    return chosen
