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
    inside: Tensor, margin: Tensor, others: Tensor, with_margin: bool = True, iterations: int = 15
) -> Foreign:
    """EM for two groups in one class on whitened features and, as one more coordinate, the margin of the votes.

    For triggers too weak to be a cluster on their own (a smooth warp: 2.5 standard deviations). The margin enters as
    normal scores of its distribution in the other classes. EM starts from the images that surely look foreign (margin
    above 0.5; from all that look foreign if these are fewer than 4).

    Args:
        inside: (n_c, p) float, one class's features, whitened within classes.
        margin: (n_c,) float, the best other class's share of the votes minus that of the given one.
        others: (m,) float, the margins of the other classes' images.
        with_margin: whether it is a coordinate; without, it is where EM starts and nothing else.
        iterations: of direction and mixture.

    Returns:
        Posteriors and normal scores of the class's images.

    Raises:
        ValueError: other shapes.

    >>> generator = torch.Generator().manual_seed(0)
    >>> inside, margin = torch.randn(200, 5, generator=generator), -torch.rand(200, generator=generator)
    >>> inside[:50, 0] += 6
    >>> margin[:40] += 1.5
    >>> int((foreign_cluster(inside, margin, -torch.rand(300, generator=generator)).weight > 0.5).sum())
    50
    """
    if inside.ndim != 2 or margin.shape != inside.shape[:1] or others.ndim != 1:
        shapes = f"{tuple(inside.shape)}, {tuple(margin.shape)} and {tuple(others.shape)}"
        raise ValueError(f"inside is (n, p), margin (n,) and others (m,), not {shapes}")
    n, others = len(inside), others.sort().values
    place = torch.searchsorted(others, margin) + torch.searchsorted(others, margin, right=True)
    rank = (place / 2 + 0.5) / (len(others) + 1)
    score = (math.sqrt(2) * torch.erfinv(2 * rank - 1)).to(inside)
    starts = [(margin > limit).to(inside)[:, None] for limit in (0.5, 0.0)]
    weight = next((start for start in starts if 4 <= start.sum() <= n - 4), None)
    if weight is None or not len(others):
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
