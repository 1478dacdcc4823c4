"""Which images of a class came from elsewhere, by what they look like and by what they share."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional.trigger_cluster import mixture


class Foreign(NamedTuple):
    """Two groups of one class's images."""

    weight: Tensor
    """(n_c,) float in [0, 1], the posterior of the group that looks foreign; 0 where EM has nothing to start from."""

    score: Tensor
    """(n_c,) float, the images' margins as normal scores of the margins of the other classes."""


def foreign_cluster(
    white: Tensor, label: Tensor, suspect: int, margin: Tensor, with_margin: bool = True, iterations: int = 15
) -> Foreign:
    """EM for two groups in one class on whitened features and, as one more coordinate, the margin of the votes.

    For triggers too weak to be a cluster on their own (a smooth warp: 2.5 standard deviations). The margin enters as
    normal scores of its distribution in the other classes. EM starts from the images that surely look foreign (margin
    above 0.5; from all that look foreign if these are fewer than 4).

    Args:
        white: (n, p) float, whitened within classes.
        label: (n,) int64.
        suspect: the class that is looked at.
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        with_margin: whether it is a coordinate; without, it is where EM starts and nothing else.
        iterations: of direction and mixture.

    Returns:
        Posteriors and normal scores of the class's images.

    Raises:
        ValueError: other shapes.

    >>> generator = torch.Generator().manual_seed(0)
    >>> white, margin = torch.randn(400, 5, generator=generator), -torch.rand(400, generator=generator)
    >>> white[:50, 0] += 6
    >>> margin[:40] += 1.5
    >>> label = (torch.arange(400) >= 200).long()
    >>> int((foreign_cluster(white, label, 0, margin).weight > 0.5).sum())
    50
    """
    if white.ndim != 2 or not label.shape == margin.shape == white.shape[:1]:
        shapes = f"{tuple(white.shape)}, {tuple(label.shape)} and {tuple(margin.shape)}"
        raise ValueError(f"white is (n, p), label and margin (n,), not {shapes}")
    rows = label == suspect
    inside, n = white[rows], int(rows.sum())
    others = margin[~rows].sort().values
    place = torch.searchsorted(others, margin[rows]) + torch.searchsorted(others, margin[rows], right=True)
    rank = (place / 2 + 0.5) / (len(others) + 1)
    score = (math.sqrt(2) * torch.erfinv(2 * rank - 1)).to(white)
    starts = [(margin[rows] > limit).to(white)[:, None] for limit in (0.5, 0.0)]
    weight = next((start for start in starts if 4 <= start.sum() <= n - 4), None)
    if weight is None or n == len(white):
        return Foreign(torch.zeros_like(score), score)
    joint = torch.cat([inside, score[:, None]], 1) if with_margin else inside
    square, total = joint.square().sum(1)[:, None], joint.sum(0)[:, None]
    for _ in range(iterations):
        upper, lower = weight.sum().clamp(min=1e-3), (n - weight.sum()).clamp(min=1e-3)
        sums = joint.T @ weight
        direction = sums / upper - (total - sums) / lower
        length = direction.norm().clamp(min=1e-9)
        weight = mixture((joint @ direction - square * (weight / upper - (1 - weight) / lower)) / length, weight)
    return Foreign(weight[:, 0], score)
