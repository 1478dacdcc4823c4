"""Which images of a class came from elsewhere, by what they look like and by what they share."""

import math

import torch
from torch import Tensor

from cleanse.functional.trigger_cluster import mixture


def foreign_cluster(white: Tensor, label: Tensor, suspect: int, margin: Tensor, iterations: int = 15) -> Tensor:
    """EM for two groups in one class on whitened features and, as one more coordinate, the margin of the votes.

    For triggers too weak to be a cluster on their own (a smooth warp: 2.5 standard deviations). The margin enters as
    normal scores of its distribution in the other classes. EM starts from the images that look foreign.

    Args:
        white: (n, p) float, whitened within classes.
        label: (n,) int64.
        suspect: the class that is looked at.
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        iterations: of direction and mixture.

    Returns:
        (n_c,) float in [0, 1], the posterior of each image of the class; 0 where fewer than 4 look foreign.

    Raises:
        ValueError: other shapes.

    >>> generator = torch.Generator().manual_seed(0)
    >>> white, margin = torch.randn(400, 5, generator=generator), -torch.rand(400, generator=generator)
    >>> white[:50, 0] += 6
    >>> margin[:40] += 1.5
    >>> label = (torch.arange(400) >= 200).long()
    >>> int((foreign_cluster(white, label, 0, margin) > 0.5).sum())
    50
    """
    if white.ndim != 2 or not label.shape == margin.shape == white.shape[:1]:
        shapes = f"{tuple(white.shape)}, {tuple(label.shape)} and {tuple(margin.shape)}"
        raise ValueError(f"white is (n, p), label and margin (n,), not {shapes}")
    rows = label == suspect
    inside, n = white[rows], int(rows.sum())
    weight = (margin[rows] > 0).to(white)[:, None]
    if weight.sum() < 4 or n - weight.sum() < 4 or n == len(white):
        return torch.zeros_like(weight[:, 0])
    others = margin[~rows].sort().values
    place = torch.searchsorted(others, margin[rows]) + torch.searchsorted(others, margin[rows], right=True)
    rank = (place / 2 + 0.5) / (len(others) + 1)
    content = (math.sqrt(2) * torch.erfinv(2 * rank - 1)).to(white)[:, None]
    joint = torch.cat([inside, content], 1)
    square, total = joint.square().sum(1)[:, None], joint.sum(0)[:, None]
    for _ in range(iterations):
        upper, lower = weight.sum().clamp(min=1e-3), (n - weight.sum()).clamp(min=1e-3)
        sums = joint.T @ weight
        direction = sums / upper - (total - sums) / lower
        length = direction.norm().clamp(min=1e-9)
        weight = mixture((joint @ direction - square * (weight / upper - (1 - weight) / lower)) / length, weight)
    return weight[:, 0]
