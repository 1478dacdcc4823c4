"""A trigger in images of all classes, each under another wrong label: all-to-all attacks, and untargeted ones."""

from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional.content_votes import VOTERS
from cleanse.functional.shared_trait import class_means
from cleanse.functional.trigger_cluster import splits_from
from cleanse.functional.voting_rows import voting_rows

SURELY = (0.8, 0.5)
"""Margins of the votes above which EM starts from all images."""

MEANS = 32
"""Directions in which classes differ most, and which are taken out."""


class Spread(NamedTuple):
    """Two groups of all images."""

    separation: float
    """As in `trigger_cluster.Cluster`; 0 if there are no two groups. Natural ones: 2.2 to 2.8 (docs/results.md)."""

    posterior: Tensor
    """(n,) float in [0, 1]: how surely each image is in the smaller group; 0 for those that were not looked at."""


def spread_cluster(
    white: Tensor,
    label: Tensor,
    margin: Tensor,
    among: Tensor,
    smallest: int = 10,
    iterations: int = 15,
    voters: int = VOTERS,
) -> Spread:
    """The split of these images that begins with those that surely look like another class than theirs.

    Where a trigger moves images of every class to a wrong one (Gu et al. 2017, arXiv 1708.06733: label y to y + 1),
    each class has it, and no class has a group that others do not share. But natural images that surely look foreign
    differ from the others in all directions, and those differ in one. What classes differ in (the
    images that look like them) is taken out, so that shoes with wrong labels are no such group.

    Args:
        white: (n, p) float, whitened within classes.
        label: (n,) int64.
        margin: (n,) float, above 0 where an image looks like another class than its own.
        among: (n,) bool, the images that are looked at.
        smallest: images of a group, and that EM starts from.
        iterations: of direction and mixture.
        voters: of more images EM sees that many, drawn in each class; the others fall on one side of its middle.

    Returns:
        The split of largest separation.

    Raises:
        ValueError: other shapes.

    >>> generator = torch.Generator().manual_seed(0)
    >>> white, label = torch.randn(600, 40, generator=generator), torch.arange(600) % 3
    >>> white[:40, 0] += 12
    >>> margin, among = torch.where(torch.arange(600) % 13 == 0, 0.9, -0.9), torch.arange(600) < 590
    >>> found = spread_cluster(white, label, margin, among)
    >>> int((found.posterior > 0.5).sum()), found.separation > 5
    (40, True)
    """
    if white.ndim != 2 or not label.shape == margin.shape == among.shape == white.shape[:1]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (white, label, margin, among))
        raise ValueError(f"white is (n, p), label, margin and among are (n,), not {shapes}")
    rows = among.nonzero().flatten()
    rows = rows[voting_rows(label[rows], voters)]
    best = Spread(0.0, torch.zeros_like(margin))
    starts = [start for start in (margin[rows] > above for above in SURELY) if smallest <= int(start.sum())]
    if not starts or len(rows) < 2 * smallest:
        return best
    size = label[rows].bincount(minlength=int(label.max()) + 1)
    mean = white.new_zeros(len(size), white.shape[1]).index_add_(0, label[rows], white[rows])
    mean /= size.clamp(min=1)[:, None]
    typical = label[rows[margin[rows] < 0]].bincount(minlength=len(size))
    plain = class_means(white, label, among & (margin < 0), len(size))
    weight = typical.to(white)[:, None]
    apart = (plain - (plain * weight).sum(0) / weight.sum().clamp(min=1)) * weight.sqrt()
    basis = torch.linalg.svd(apart, full_matrices=False).Vh[: max(0, min(MEANS, int(typical.count_nonzero()) - 1))].T
    inside = white[rows] - mean[label[rows]]
    inside -= (inside @ basis) @ basis.T
    splits = splits_from(inside, torch.stack(starts, 1).to(white), iterations)
    for column in splits.apart.argsort().tolist():
        posterior, axis, middle = splits.weight[:, column], splits.direction[:, column], splits.middle[column]
        hit = posterior > 0.5
        if 2 * int(hit.sum()) > len(rows):
            posterior, axis, middle, hit = 1 - posterior, -axis, -middle, ~hit
        if int(hit.sum()) < smallest:
            continue
        everyone = (among & (white @ axis - (mean @ axis)[label] > middle)).to(margin)
        best = Spread(float(splits.apart[column]), everyone.index_copy(0, rows, posterior.to(margin)))
    return best
