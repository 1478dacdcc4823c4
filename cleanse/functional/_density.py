"""What the rules on class densities share: a checked table, and the best other class of each row."""

import torch
from torch import Tensor


def checked(log_density: Tensor, label: Tensor) -> Tensor:
    """(n, C) float: the log-densities, float64 if they were that and float32 otherwise, with labels that fit.

    A log-density of -inf is a density of 0 and welcome: a class that was never trained, a row too far out to be
    represented.

    Raises:
        ValueError: other shapes, fewer than two classes, NaN or +inf among the log-densities, or labels that are not
            classes.
    """
    if log_density.ndim != 2 or log_density.shape[1] < 2 or label.shape != log_density.shape[:1] or not len(label):
        raise ValueError(
            "log_density is (n, C) with two classes or more and label (n,), "
            f"not {tuple(log_density.shape)} and {tuple(label.shape)}"
        )
    table = log_density.detach().to(torch.promote_types(log_density.dtype, torch.float32))
    if label.is_floating_point() or label.min() < 0 or label.max() >= table.shape[1]:
        raise ValueError(
            f"label holds classes, whole numbers in 0..{table.shape[1] - 1}, "
            f"not {label.min().item()}..{label.max().item()} of type {label.dtype}"
        )
    wrong = (table.isnan() | (table == torch.inf)).any(1)
    if wrong.any():
        raise ValueError(
            f"{int(wrong.sum())} of {len(table)} rows of log_density are NaN or +inf, the first is row "
            f"{int(wrong.nonzero()[0])}: the flows have diverged, give them a smaller lr"
        )
    return table


def best_other(table: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row the highest log-density (n,) among the classes that it is not labeled with, and that class (n,).

    The smaller class of equals. Where every other density is 0, the value is -inf and the class means nothing.
    """
    value, other = table.scatter(1, label[:, None].to(table.device), -torch.inf).max(1)
    return value, other
