"""Which images of a class came from elsewhere, by what they look like and by what they share."""

import torch
from torch import Tensor

from cleanse.functional.trigger_cluster import mixture


def foreign_cluster(
    inside: Tensor, margin: Tensor, score: Tensor, with_margin: bool = True, iterations: int = 15
) -> Tensor:
    """EM for two groups in one class on whitened features and, as one more coordinate, the margin of the votes.

    For triggers too weak to be a cluster on their own (a smooth warp: 2.5 standard deviations). The margin enters as
    normal scores of its distribution in the other classes. EM starts from the images that surely look foreign (margin
    above 0.5; from all that look foreign if these are fewer than 4).

    Args:
        inside: (n_c, p) float, one class's features, whitened within classes.
        margin: (n_c,) float, the best other class's share of the votes minus that of the given one.
        score: (n_c,) float, of the margins among those of the other classes, see `normal_scores`.
        with_margin: whether it is a coordinate; without, it is where EM starts and nothing else.
        iterations: of direction and mixture.

    Returns:
        (n_c,) float in [0, 1], the posterior of the group that looks foreign; 0 where EM has nothing to start from.

    Raises:
        ValueError: other shapes.

    >>> generator = torch.Generator().manual_seed(0)
    >>> inside, margin = torch.randn(200, 5, generator=generator), -torch.rand(200, generator=generator)
    >>> inside[:50, 0] += 6
    >>> margin[:40] += 1.5
    >>> int((foreign_cluster(inside, margin, 2 * margin + 1) > 0.5).sum())
    50
    """
    if inside.ndim != 2 or not margin.shape == score.shape == inside.shape[:1]:
        shapes = f"{tuple(inside.shape)}, {tuple(margin.shape)} and {tuple(score.shape)}"
        raise ValueError(f"inside is (n, p), margin and score are (n,), not {shapes}")
    n = len(inside)
    starts = [(margin > limit).to(inside)[:, None] for limit in (0.5, 0.0)]
    weight = next((start for start in starts if 4 <= start.sum() <= n - 4), None)
    if weight is None:
        return torch.zeros_like(score)
    joint = torch.cat([inside, score[:, None]], 1) if with_margin else inside
    square, total = joint.square().sum(1)[:, None], joint.sum(0)[:, None]
    for _ in range(iterations):
        upper, lower = weight.sum().clamp(min=1e-3), (n - weight.sum()).clamp(min=1e-3)
        sums = joint.T @ weight
        direction = sums / upper - (total - sums) / lower
        length = direction.norm().clamp(min=1e-9)
        weight = mixture((joint @ direction - square * (weight / upper - (1 - weight) / lower)) / length, weight)
    return weight[:, 0]
