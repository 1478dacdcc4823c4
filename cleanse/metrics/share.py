"""What all rates share: hits among the rows that count, and NaN where no row counts."""

import torch
from torch import Tensor
from torchmetrics import Metric


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
    return _ratio((hit & among).sum(), among.sum())


def eligible(true_label: Tensor, target: int, source: int | None = None) -> Tensor:
    """The test images that an attack is measured on: of the source class, or without one, all but the target's.

    Args:
        true_label: (n,) int64.
        target: the attack's target class.
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


class Share(Metric):
    """A rate that adds up over batches and processes: counts are summed, and divided at the end."""

    is_differentiable = False
    full_state_update = False
    hit: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("hit", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def add(self, hit: Tensor, among: Tensor) -> None:
        """Count a batch: ``hit`` and ``among`` as in `share`."""
        self.hit += (hit & among).sum()
        self.total += among.sum()

    def compute(self) -> Tensor:
        """The rate over all that was counted; NaN where no row counts."""
        return _ratio(self.hit, self.total)


def _ratio(hit: Tensor, total: Tensor) -> Tensor:
    return hit.to(torch.float32 if hit.device.type == "mps" else torch.float64) / total
