"""A cluster inside one class that no other class has: what a trigger makes of the images that carry it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional._principal import principal, tails
from cleanse.functional.count_scenes import count_scenes


class Cluster(NamedTuple):
    """The most separate cluster of one class."""

    separation: float
    """Difference of the two means over sqrt(v0 + v1) along the direction (Ashman's D / sqrt 2); 0 if none was found."""

    enrichment: float
    """The cluster's share of the class over the share of the other classes' images that lie on its side."""

    scenes: int
    """Different pictures among its members (`count_scenes`)."""

    posterior: Tensor
    """(n_c,) float in [0, 1]: how surely each image of the class is in the cluster."""

    direction: Tensor
    """(p,) float, of length one, towards the cluster."""


def mixture(score: Tensor, weight: Tensor, iterations: int = 8) -> Tensor:
    """EM for two Gaussians in each column; the posterior of the upper one, 0 below the lower mean, 1 above the upper.

    Args:
        score: (n, s) float.
        weight: (n, s) float in [0, 1], where to start.
        iterations: of expectation and maximization.

    Returns:
        (n, s) float.

    >>> score = torch.tensor([[0.0], [0.2], [0.4], [5.0], [5.2]])
    >>> mixture(score, (score > 4).float())[:, 0].tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0]
    """
    n = len(score)
    for _ in range(iterations):
        upper = weight.sum(0).clamp(min=1e-3)
        lower = (n - weight.sum(0)).clamp(min=1e-3)
        mean1, mean0 = (weight * score).sum(0) / upper, ((1 - weight) * score).sum(0) / lower
        var1 = (weight * (score - mean1) ** 2).sum(0) / upper
        var0 = ((1 - weight) * (score - mean0) ** 2).sum(0) / lower
        var1 = torch.maximum(var1, 0.05 * var0).clamp(min=1e-9)
        var0 = torch.maximum(var0, 0.05 * var1).clamp(min=1e-9)
        odds = (upper / lower).log() + 0.5 * (var0 / var1).log()
        odds = odds - 0.5 * (score - mean1) ** 2 / var1 + 0.5 * (score - mean0) ** 2 / var0
        weight = torch.where(score <= mean0, 0.0, torch.where(score >= mean1, 1.0, odds.sigmoid()))
    return weight


def check_shapes(white: Tensor, label: Tensor, margin: Tensor, content: Tensor) -> None:
    """Refuse what is not a row for each image.

    Raises:
        ValueError: other shapes.
    """
    if white.ndim != 2 or not label.shape == margin.shape == content.shape[:1] == white.shape[:1]:
        shapes = ", ".join(str(tuple(t.shape)) for t in (white, label, margin, content))
        raise ValueError(f"white is (n, p), label and margin (n,), content (n, d), not {shapes}")


def trigger_clusters(
    white: Tensor,
    label: Tensor,
    suspects: Sequence[int],
    margin: Tensor,
    content: Tensor,
    alike: float = 1.0,
    smallest: int = 10,
    exclusive: float = 50.0,
    iterations: int = 10,
    at_once: int = 64,
) -> list[Cluster]:
    """In each suspect class, the two-group split that is most bimodal among those that other classes do not share.

    As in SCAn (Tang et al. 2019, arXiv 1908.00686), two groups of one covariance; unlike it, many starts (principal
    directions, images that look like another class, dense spots), each image scored without its own part in the
    direction (in 1,536 dimensions every image is its own outlier), and no clean images. The separation is Ashman's
    (Ashman, Bird, Zepf 1994, astro-ph/9408030).

    Args:
        white: (n, p) float, whitened within classes.
        label: (n,) int64.
        suspects: the classes that are looked at.
        margin: (n,) float, above 0 where an image looks like another class than its own.
        content: (n, d) float, final features: what the images show.
        alike: cosine of the content of two images that are nearly the same picture, see `likeness_of_twins`.
        smallest: different pictures that make a cluster. Copies, and frames of one video, are one picture.
        exclusive: the least enrichment.
        iterations: of direction and mixture.
        at_once: classes whose splits are held against all images together; each product reads all of ``white``.

    Returns:
        For each suspect the cluster of largest separation, with separation 0 and posterior 0 if there is none.

    Raises:
        ValueError: other shapes.

    >>> generator = torch.Generator().manual_seed(0)
    >>> white = torch.randn(600, 20, generator=generator)
    >>> white[:40, 0] += 12
    >>> label = torch.arange(600) // 200
    >>> margin, content = torch.zeros(600), torch.randn(600, 50, generator=generator)
    >>> attacked, clean = trigger_clusters(white, label, [0, 1], margin, content)
    >>> int((attacked.posterior > 0.5).sum()), clean.separation < 4
    (40, True)
    """
    check_shapes(white, label, margin, content)
    clusters = []
    for start in range(0, len(suspects), at_once):
        some = suspects[start : start + at_once]
        rows = [(label == c).nonzero().flatten() for c in some]
        found = [_splits(white[own], margin[own], smallest, iterations) for own in rows]
        beyond = _beyond(white, label, some, found, smallest, exclusive)
        parts = torch.split(beyond, [len(splits.middle) for splits in found])
        for own, splits, past in zip(rows, found, parts, strict=True):
            clusters.append(_best(splits, past, content[own], len(white) - len(own), alike, smallest, exclusive))
    return clusters


class _Splits(NamedTuple):
    """Ways to split one class in two, each from another start."""

    weight: Tensor
    """(n_c, s) float in [0, 1], posterior of the upper group."""

    direction: Tensor
    """(p, s) float, of length one, towards it."""

    apart: Tensor
    """(s,) float, separation."""

    middle: Tensor
    """(s,) float, the place along the direction as many deviations from one mean as from the other; NaN for a group
    below 3."""


def _splits(inside: Tensor, margin: Tensor, smallest: int, iterations: int) -> _Splits:
    """EM from every start; no split of a class that is too small."""
    if len(inside) < 2 * smallest:
        nothing = inside.new_zeros(0)
        return _Splits(inside[:, :0], inside.T[:, :0], nothing, nothing)
    return splits_from(inside, _starts(inside - inside.mean(0), margin), iterations)


def splits_from(inside: Tensor, weight: Tensor, iterations: int) -> _Splits:
    """EM for two groups of one covariance, from each column of ``weight``: (n_c, s) in [0, 1], of the upper group."""
    n = len(inside)
    total, square = inside.sum(0)[:, None], inside.square().sum(1)[:, None]
    for _ in range(iterations):
        upper = weight.sum(0).clamp(min=1e-3)
        lower = (n - weight.sum(0)).clamp(min=1e-3)
        sums = inside.T @ weight
        direction = sums / upper - (total - sums) / lower
        length = direction.norm(dim=0).clamp(min=1e-9)
        score = (inside @ direction - square * (weight / upper - (1 - weight) / lower)) / length
        weight = mixture(score, weight)
    direction = direction / length
    projected = inside @ direction
    hits = weight > 0.5
    apart = torch.stack([_separation(score[:, i], hits[:, i]) for i in range(hits.shape[1])])
    middle = torch.stack([_middle(projected[:, i], hits[:, i]) for i in range(hits.shape[1])])
    return _Splits(weight, direction, apart, middle)


def _beyond(
    white: Tensor,
    label: Tensor,
    suspects: Sequence[int],
    found: Sequence[_Splits],
    smallest: int,
    exclusive: float,
    part: int = 4096,
) -> Tensor:
    """(S,) the share of the other classes' images beyond the middle of each split, of one class after the other.

    NaN for a split that others share too much. Most do: images are looked at in parts that lie evenly over the data,
    and a split is left as soon as it fails even if nobody else lies on its side, whichever side that is.
    """
    direction = torch.cat([splits.direction for splits in found], 1)
    middle = torch.cat([splits.middle for splits in found])
    hit = torch.cat([(splits.weight > 0.5).sum(0) for splits in found])
    owner = torch.tensor(suspects, device=label.device).repeat_interleave(
        torch.tensor([len(splits.middle) for splits in found], device=label.device)
    )
    size = label.bincount()[owner]
    others = len(label) - size
    parts = max(1, len(white) // part)
    count, seen = torch.zeros_like(hit), torch.zeros_like(hit)
    left = (~middle.isnan() & (others > 0)).nonzero().flatten()
    for start in range(parts):
        other = label[start::parts, None] != owner[left]
        count[left] += ((white[start::parts] @ direction[:, left] > middle[left]) & other).sum(0)
        seen[left] += other.sum(0)
        sides = ((hit[left], count[left]), (size[left] - hit[left], seen[left] - count[left]))
        passes = [  # a little below the limit, for the sake of rounding
            (members >= smallest) & (members * (others[left] / size[left]) >= 0.999 * exclusive * (shared + 1))
            for members, shared in sides
        ]
        left = left[passes[0] | passes[1]]
    share = torch.full_like(middle, torch.nan)
    share[left] = count[left].to(share) / others[left]
    return share


def _best(
    splits: _Splits, beyond: Tensor, content: Tensor, others: int, alike: float, smallest: int, exclusive: float
) -> Cluster:
    """The first, by separation, that is exclusive and of different pictures."""
    n = len(content)
    for column in splits.apart.argsort(descending=True).tolist():
        if beyond[column].isnan():
            continue
        posterior, axis, past = splits.weight[:, column], splits.direction[:, column], float(beyond[column])
        hit = posterior > 0.5
        if past > 0.5:  # the other classes lie with what the start took for the cluster
            hit, posterior, axis, past = ~hit, 1 - posterior, -axis, 1 - past
        a = int(hit.sum())
        enrichment = a / n / (past + 1 / others)
        if min(a, n - a) < smallest or enrichment < exclusive:  # a few odd images and the rest are no group
            continue
        scenes = count_scenes(content[hit], alike)
        if scenes >= smallest:
            return Cluster(float(splits.apart[column]), enrichment, scenes, posterior, axis)
    return Cluster(0.0, 0.0, 0, content.new_zeros(n), splits.direction.new_zeros(len(splits.direction)))


def _separation(score: Tensor, hit: Tensor) -> Tensor:
    """The difference of two groups' means over the root of their summed variances; 0 for a group below 3."""
    if min(int(hit.sum()), int((~hit).sum())) < 3:
        return score.new_zeros(())
    upper, lower = score[hit], score[~hit]
    return (upper.mean() - lower.mean()) / (upper.var() + lower.var()).sqrt().clamp(min=1e-9)


def _middle(projected: Tensor, hit: Tensor) -> Tensor:
    """The place as many deviations from one group's mean as from the other's; NaN for a group below 3."""
    upper, lower = projected[hit], projected[~hit]
    if min(len(upper), len(lower)) < 3:
        return projected.new_full((), torch.nan)
    wide1, wide0 = upper.std().clamp(min=1e-9), lower.std().clamp(min=1e-9)
    return (upper.mean() * wide0 + lower.mean() * wide1) / (wide0 + wide1)


def _starts(inside: Tensor, margin: Tensor) -> Tensor:
    """(n, s) weights of 0 and 1, where EM starts."""
    n = len(inside)
    starts = tails(principal(inside, 6)[:, :3], (0.1, 0.02))
    for above in (0.0, 0.6):
        foreign = margin > above
        if 3 <= int(foreign.sum()) <= n - 3:
            starts.append(foreign.to(inside))
    some = torch.arange(0, n, math.ceil(n / 4000), device=inside.device)
    unit = torch.nn.functional.normalize(inside[some])
    similarity = unit @ unit.T
    similarity.fill_diagonal_(-torch.inf)
    size = min(len(some) - 1, max(10, int(0.02 * len(some))))
    density = similarity.topk(min(10, size), 1).values.mean(1)
    for _ in range(8):
        densest = int(density.argmax())
        if density[densest] == -torch.inf:
            break
        member = torch.cat([similarity[densest].topk(size).indices, some.new_tensor([densest])])
        starts.append(torch.zeros_like(inside[:, 0]).index_fill_(0, some[member], 1.0))
        density[member] = -torch.inf
    return torch.stack(starts, 1)
