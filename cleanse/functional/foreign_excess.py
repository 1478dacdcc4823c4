"""How much more often a class's images look like another class, surely, than the images of the other classes do."""

import torch
from torch import Tensor

QUANTILE = 0.99


def foreign_excess(margin: Tensor, label: Tensor, quantile: float = QUANTILE) -> tuple[Tensor, Tensor]:
    """Per class, the share of its margins above a quantile of the other classes' margins, over 1 - quantile.

    1 where a class is like the others, whatever the encoder's error, whatever the class's size, and also where labels
    are wrong at random in all classes. Images from elsewhere, under the label of one class, raise its ratio alone.

    Args:
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        label: (n,) int64.
        quantile: of the other classes' margins, in (0, 1).

    Returns:
        ratio: (C,) float, 0 for a class without images.
        surely: (n,) bool, the images above the quantile of the other classes.

    Raises:
        ValueError: other shapes, fewer than two classes, or a quantile out of range.

    >>> margin = torch.tensor([0.9, 0.9, -1.0, -1.0, 0.1, -0.9, -0.9, -0.9])
    >>> foreign_excess(margin, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]), quantile=0.75)[0].tolist()
    [2.0, 0.0]
    """
    if margin.ndim != 1 or margin.shape != label.shape:
        raise ValueError(f"margin and label are both (n,), not {tuple(margin.shape)} and {tuple(label.shape)}")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile is between 0 and 1, not {quantile}")
    size = label.bincount()
    if (size > 0).sum() < 2:
        raise ValueError("one class alone has no others to be compared with")
    ascending, order = margin.sort()
    # the places of each class in ascending order
    by_class = torch.split(label[order].argsort(stable=True), size.tolist())
    ratio, surely = torch.zeros(len(size), dtype=margin.dtype, device=margin.device), torch.zeros_like(label).bool()
    for c in size.nonzero().flatten().tolist():
        own, others = by_class[c], len(label) - len(by_class[c])
        place = min(others - 1, int(quantile * others))  # among the others; and among all, behind so many of its own:
        place += int(torch.searchsorted(own - torch.arange(len(own), device=own.device), place, right=True))
        above = ascending[own] > ascending[place]
        surely[order[own[above]]] = True
        ratio[c] = above.sum() / size[c] / (1 - quantile)
    return ratio, surely


def is_excess(count: Tensor, expected: Tensor, excess: float = 2.5, deviations: float = 3.0) -> Tensor:
    """Are there more such images than a hard class has, and than chance adds to that?

    Natural classes reach 2.5 times the share of the others (cats and birds of CIFAR-10; at 10,000 images). Where two
    are expected, chance alone makes a ratio of 6; so the limit is on the count.

    Args:
        count: of images above the quantile.
        expected: so many would be above it in a class like the others.
        excess: what a hard class reaches, times what is expected.
        deviations: of a Poisson count, beyond that.

    Returns:
        bool, of the same shape.

    >>> is_excess(torch.tensor([10, 20, 30]), torch.tensor([5.0, 5.0, 5.0])).tolist()
    [False, False, True]
    """
    usual = excess * expected
    return count > usual + deviations * usual.sqrt()
