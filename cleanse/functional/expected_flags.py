"""How many of the clean images a check flags, from votes alone."""

from typing import NamedTuple

import torch
from torch import Tensor


class ExpectedFlags(NamedTuple):
    """Shares of clean images, in [0, 1]."""

    unnamed: float
    """Of all images, if no class is named."""

    named: float
    """Of all images, if a class of usual size is named by votes; an upper estimate."""

    inside: float
    """Of those of the named class; an upper estimate."""


def expected_flags(
    margin: Tensor, label: Tensor, lenient: float = 0.6, elsewhere: float = 0.8, named: Tensor | None = None
) -> ExpectedFlags:
    """Shares of clean images that are flagged if no class is named, and if a class of usual size is named by votes.

    Leave-one-out: every margin is that of an image which had no vote of its own. The named classes are left out, or
    where none is the one with the largest share, so that the poison of a class does not count as clean; wrong labels in
    the others do. With a named class they are upper estimates: in it an image that looks foreign is kept if it shares
    nothing with the others that do. What the trigger's own cluster costs is not in it (under 0.1 % on CIFAR-10).

    Args:
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        label: (n,) int64.
        lenient: margin above which an image is flagged if no class is named.
        elsewhere: the same for images outside a named class, if one is.
        named: (C,) bool or int, not 0 for the classes that are named; None for none.

    Returns:
        Shares of all images and of the named class's.

    Raises:
        ValueError: other shapes, or no images.

    >>> margin = torch.tensor([0.7, 0.1, -1.0, -1.0, 0.8, 0.9, 0.3, -1.0])
    >>> tuple(expected_flags(margin, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])))
    (0.25, 0.25, 0.5)
    """
    if margin.ndim != 1 or margin.shape != label.shape or not len(margin):
        raise ValueError(f"margin and label are both (n,), not {tuple(margin.shape)} and {tuple(label.shape)}")
    size = label.bincount()
    usual = 1 / int(size.count_nonzero())
    clean = size > 0
    if named is not None:
        clean &= named[: len(size)] == 0
    limits = (lenient, elsewhere, 0.0)
    above = [label[margin > limit].bincount(minlength=len(size)) for limit in limits]
    none, outside, inside = (_share(hit, size, clean) for hit in above)
    return ExpectedFlags(none, outside * (1 - usual) + inside * usual, inside)


def _share(hit: Tensor, size: Tensor, clean: Tensor) -> float:
    """Of the images of the clean classes; if all seem clean, without the class with most."""
    if torch.equal(clean, size > 0) and int(clean.sum()) > 1:
        clean = clean.clone()
        clean[(hit / size.clamp(min=1)).argmax()] = False
    return float(hit[clean].sum() / size[clean].sum().clamp(min=1))
