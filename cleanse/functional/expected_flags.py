"""How many clean images a check will flag, from votes alone, before it is run."""

from typing import NamedTuple

from torch import Tensor


class ExpectedFlags(NamedTuple):
    """Shares of clean images, in [0, 1]."""

    unnamed: float
    """Of all images, if no class is named."""

    named: float
    """Of all images, if a class of usual size is named by votes; an upper estimate."""

    inside: float
    """Of those of the named class; an upper estimate."""


def expected_flags(margin: Tensor, label: Tensor, lenient: float = 0.6, elsewhere: float = 0.8) -> ExpectedFlags:
    """Shares of clean images that are flagged if no class is named, and if a class of usual size is named by votes.

    With a named class they are upper estimates: in it an image that looks foreign is kept if it shares nothing with the
    others that do. Leave-one-out: every margin is that of an image which had no vote of its own. The median over
    classes keeps the poison of one class out of the estimate; wrong labels in most classes are counted as clean
    images. What the trigger's own cluster costs is not in it (under 0.1 % on CIFAR-10).

    Args:
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        label: (n,) int64.
        lenient: margin above which an image is flagged if no class is named.
        elsewhere: the same for images outside a named class, if one is.

    Returns:
        Shares of all images and of the named class's.

    Raises:
        ValueError: other shapes, or no images.

    >>> import torch
    >>> margin = torch.tensor([0.7, 0.1, -1.0, -1.0, 0.8, 0.2, 0.3, -1.0])
    >>> tuple(expected_flags(margin, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])))
    (0.25, 0.3125, 0.625)
    """
    if margin.ndim != 1 or margin.shape != label.shape or not len(margin):
        raise ValueError(f"margin and label are both (n,), not {tuple(margin.shape)} and {tuple(label.shape)}")
    size = label.bincount()
    present = size > 0
    limits = (lenient, elsewhere, 0.0)
    none, outside, inside = (
        _median(label[margin > limit].bincount(minlength=len(size))[present] / size[present]) for limit in limits
    )
    usual = 1 / int(present.sum())
    return ExpectedFlags(none, outside * (1 - usual) + inside * usual, inside)


def _median(value: Tensor) -> float:
    ascending = value.double().sort().values
    middle = (len(value) - 1) / 2
    return float((ascending[int(middle)] + ascending[int(middle + 0.5)]) / 2)
