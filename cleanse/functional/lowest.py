"""The rows of lowest loss."""

import torch
from torch import Tensor


def lowest(loss: Tensor, count: int) -> Tensor:
    """(n,) bool: the ``count`` rows of lowest loss (n,); of equal ones those that come first.

    Raises:
        ValueError: a loss is NaN, or there are fewer rows.

    >>> lowest(torch.tensor([3.0, 1.0, 1.0, 2.0]), 2).tolist()
    [False, True, True, False]
    """
    if not 0 <= count <= len(loss):
        raise ValueError(f"count is a number of rows, 0 to {len(loss)}, not {count}")
    if loss.isnan().any():
        raise ValueError(f"{int(loss.isnan().sum())} losses are NaN: the network has diverged, lower its learning rate")
    chosen = torch.zeros(len(loss), dtype=torch.bool, device=loss.device)
    chosen[loss.argsort(stable=True)[:count]] = True
    return chosen
