"""Which images have a vote where there are too many to compare each with every other one."""

import torch
from torch import Tensor


def voting_rows(label: Tensor, most: int, least: int = 20, seed: int = 0) -> Tensor:
    """About ``most`` images, drawn with a fixed seed: of each class its share, and ``least`` or all that it has.

    Args:
        label: (n,) int64, classes from 0.
        most: images; exceeded by what small classes have above their share.
        least: images of a class, if it has them.
        seed: draws them.

    Returns:
        (m,) int64, ascending; all rows if there are no more than ``most``.

    Raises:
        ValueError: labels that are not (n,), or numbers below 1.

    >>> label = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    >>> label[voting_rows(label, 100)].bincount().tolist()
    [90, 20, 10]
    """
    if label.ndim != 1:
        raise ValueError(f"labels are (n,), not {tuple(label.shape)}")
    if most < 1 or least < 1:
        raise ValueError(f"most and least are numbers of images, at least 1, not {most} and {least}")
    n = len(label)
    if n <= most:
        return torch.arange(n, device=label.device)
    size = label.bincount()
    quota = (size * (most / n)).round().clamp(min=least)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).to(label.device)
    order = order[label[order].argsort(stable=True)]  # class by class, each in its random order
    of_class = label[order]
    place = torch.arange(n, device=label.device) - (size.cumsum(0) - size)[of_class]
    return order[place < quota[of_class]].sort().values
