"""What all rates share: hits among the rows that count, and NaN where no row counts."""

import torch
from torch import Tensor


def share(hit: Tensor, among: Tensor) -> Tensor:
    """Hits / rows that count.

    Args:
        hit: bool, any shape.
        among: bool, the same shape; rows outside it do not count.

    Returns:
        A scalar, float64 so that 9 of 10 prints as 0.9 (float32 where the device has no float64); NaN where no row
        counts.

    >>> share(torch.tensor([True, False, True]), torch.tensor([True, True, False])).item()
    0.5
    """
    dtype = torch.float32 if hit.device.type == "mps" else torch.float64
    return (hit & among).sum().to(dtype) / among.sum()


def eligible(true_label: Tensor, target: int | Tensor, source: int | None = None) -> Tensor:
    """The test images that an attack is measured on: of the source class, or without one, all but the target's.

    Args:
        true_label: (n,) int64.
        target: the attack's target class, or (n,) int64, one for each image.
        source: the attack's source class, if it has one.

    Returns:
        (n,) bool.

    >>> eligible(torch.tensor([0, 1, 2]), target=0).tolist()
    [False, True, True]
    """
    return true_label != target if source is None else true_label == source


def check_same_length(**columns: Tensor) -> None:
    """Refuse columns that are not all (n,) with the same n.

    Raises:
        ValueError: naming the columns and their shapes.
    """
    if len({tuple(column.shape) for column in columns.values()}) > 1 or any(c.ndim != 1 for c in columns.values()):
        shapes = ", ".join(f"{name} {tuple(column.shape)}" for name, column in columns.items())
        raise ValueError(f"these are columns of one table, (n,) each, but their shapes are {shapes}")
