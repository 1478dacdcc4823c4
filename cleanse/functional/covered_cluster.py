"""A cluster in one class whose trigger other classes have, too, under their right labels: covers, taken as controls."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional._principal import principal, tails
from cleanse.functional.content_votes import VOTERS, Votes, content_votes
from cleanse.functional.count_scenes import count_scenes
from cleanse.functional.trigger_cluster import _Splits, _splits, check_shapes, splits_from

SHARED = 3.0
"""The least share of the class in the group, over the share of the other classes."""
CONTRAST = 0.2
"""By so much of them, more images of the group look foreign than of the rest of the class and of the covers."""
SLACK = 1.2
"""So much less than the limit may separate a group that is looked at again."""
PATIENCE = 3
"""Rounds after which a group found in what the images show has to be as far apart: it begins far from the trigger."""
BUDGET = 10
"""One class of so many, but at least ten, is looked at from what its images show: those that are most bimodal in it."""


class Covered(NamedTuple):
    """The most separate group of one class that others may share."""

    separation: float
    """Of the two groups, as `trigger_cluster.Cluster` has it, where the group itself is not in the whitening; 0 if
    there is none."""

    posterior: Tensor
    """(n_c,) float in [0, 1]: how surely each image of the class is in the group."""

    shares: Tensor
    """(n,) bool: the images of other classes on its side."""


def covered_clusters(
    white: Tensor,
    label: Tensor,
    suspects: Sequence[int],
    margin: Tensor,
    content: Tensor,
    limit: Tensor,
    alike: float = 1.0,
    smallest: int = 10,
    candidates: int = 2,
    rounds: int = 5,
) -> list[Covered]:
    """In each suspect class, its most bimodal splits, looked at again in features that are whitened without the group.

    Covers (the trigger under right labels: TaCT, Tang et al. 2019, arXiv 1908.00686; Qi et al. 2023) make the trigger a
    part of what classes vary in, and whitening shrinks its direction to that of any other: two groups are then as far
    apart as natural ones. Without the images on the group's side in the covariance, and without what the classes differ
    in, a trigger's group is far apart again, and natural ones, which are the end of something continuous, are not.

    Args:
        white: (n, p) float, whitened within classes.
        label: (n,) int64.
        suspects: the classes that are looked at.
        margin: (n,) float, above 0 where an image looks like another class than its own.
        content: (n, d) float, final features.
        limit: (C,) float, least separation that counts. A split is looked at again from `SLACK` less on.
        alike: cosine of the content of two images that are nearly the same picture, see `likeness_of_twins`.
        smallest: different pictures that make a group, and that share it.
        candidates: splits of each class that are looked at again.
        rounds: of whitening and EM.

    Returns:
        For each suspect the group of largest separation, at least ``limit``, that enough different pictures of other
        classes share: without these there is nothing to compare it with. Separation 0 if there is none.

    Raises:
        ValueError: other shapes.

    >>> from cleanse.functional.whiten_within import whiten_within
    >>> generator = torch.Generator().manual_seed(0)
    >>> early, content = torch.randn(600, 20, generator=generator), torch.randn(600, 50, generator=generator)
    >>> label = torch.arange(600) // 200
    >>> early[(torch.arange(600) < 60) | (torch.arange(600) % 200 > 190), 0] += 12
    >>> white, margin, limit = whiten_within(early, label), torch.zeros(600), torch.full((3,), 5.0)
    >>> (found,) = covered_clusters(white, label, [0], margin, content, limit)
    >>> int((found.posterior > 0.5).sum()), int(found.shares.sum())
    (69, 18)
    """
    check_shapes(white, label, margin, content)
    data = _data(white, label, content)
    of_content = _most_bimodal(content, label, suspects, smallest, candidates)
    found, nobody = [], torch.zeros_like(label, dtype=torch.bool)
    for c in suspects:
        rows, least = (label == c).nonzero().flatten(), float(limit[c])
        best = Covered(0.0, margin.new_zeros(len(rows)), nobody)
        splits = _splits(white[rows], margin[rows], smallest, 10)
        starts = [(group, 1) for _, group in _different(splits, smallest, candidates, least - SLACK)]
        for group, patience in starts + [(group, PATIENCE) for group in of_content.get(c, ())]:
            for side in (group, ~group):
                closer = _closer(data, rows, side, content, least, smallest, rounds, patience)
                if closer is None or closer.separation <= best.separation:
                    continue
                if _is_group(closer, rows, content, alike, smallest):
                    best = closer
        found.append(best)
    return found


def is_covered(
    found: Covered, rows: Tensor, content: Tensor, label: Tensor, k: int, votes: Votes, voters: int = VOTERS
) -> bool:
    """Do the images of the group look like other classes, and the covers, and the rest of the class, like their own?

    Asked of the votes of images that do not share the trait, since poison votes for poison: a 3x3 patch is enough to
    bring images of one class closer together. A natural group (dark pictures) looks foreign or not with its like in the
    other classes.

    Args:
        found: of one class.
        rows: (n_c,) int64, the images of that class.
        content: (n, d) float, final features.
        label: (n,) int64.
        k: neighbors.
        votes: of all images, with everyone voting.
        voters: images that vote, at most.
    """
    group = found.posterior > 0.5
    out = found.shares.clone()
    out[rows[group]] = True
    before = votes if len(label) > voters else None
    foreign = (content_votes(content, label, k, ~out, voters, before).margin > 0).float()
    inside, rest, covers = foreign[rows[group]].mean(), foreign[rows[~group]].mean(), foreign[found.shares].mean()
    return float(inside) > 0.5 and float(inside - torch.maximum(rest, covers)) > CONTRAST


class _Data(NamedTuple):
    """What all suspects share."""

    white: Tensor
    label: Tensor
    size: Tensor
    sums: Tensor
    """(C, p) float, of ``white`` over each class."""
    content: Tensor
    """(C, d) float, unit mean of the content of each class; 0 for an empty one."""


def _data(white: Tensor, label: Tensor, content: Tensor) -> _Data:
    size = label.bincount()
    sums = white.new_zeros(len(size), white.shape[1])
    for rows in torch.split(torch.arange(len(label), device=label.device), 4096):
        sums.index_add_(0, label[rows], white[rows])
    return _Data(white, label, size, sums, _class_content(content, label, size))


def _class_content(content: Tensor, label: Tensor, size: Tensor) -> Tensor:
    mean = content.new_zeros(len(size), content.shape[1]).index_add_(0, label, content) / size.clamp(min=1)[:, None]
    return torch.nn.functional.normalize(torch.where(size[:, None] > 0, mean - content.mean(0), 0.0))


def _different(splits: _Splits, smallest: int, most: int, least: float = 0.0) -> list[tuple[float, Tensor]]:
    """Separation and (n_c,) bool of the most separate groups that are not nearly the same."""
    seen: list[tuple[float, Tensor]] = []
    for column in splits.apart.argsort(descending=True).tolist():
        if float(splits.apart[column]) < least or len(seen) == most:
            break
        group = splits.weight[:, column] > 0.5
        if min(int(group.sum()), int((~group).sum())) < smallest:
            continue
        same = [float((group == other).float().mean()) for _, other in seen]
        if not any(max(share, 1 - share) > 0.95 for share in same):
            seen.append((float(splits.apart[column]), group))
    return seen


def _most_bimodal(
    content: Tensor, label: Tensor, suspects: Sequence[int], smallest: int, most: int
) -> dict[int, list[Tensor]]:
    """Of the suspects that fall into two groups most clearly by what their images show, those groups."""
    mean, found = content.mean(0), {}
    for c in suspects:
        inside = torch.nn.functional.normalize(content[label == c] - mean)
        projected = principal(inside - inside.mean(0), 8)
        splits = splits_from(projected, torch.stack(tails(projected[:, :3], (0.2, 0.05)), 1), 15)
        found[c] = _different(splits, smallest, most)
    first = sorted(found, key=lambda c: found[c][0][0] if found[c] else 0.0, reverse=True)
    return {c: [group for _, group in found[c]] for c in first[: max(10, len(suspects) // BUDGET)]}


def _is_group(found: Covered, rows: Tensor, content: Tensor, alike: float, smallest: int) -> bool:
    """Enough different pictures are in it, and share it."""
    who = rows[found.posterior > 0.5], found.shares
    return all(count_scenes(content[images], alike) >= smallest for images in who)


def _closer(
    data: _Data,
    rows: Tensor,
    group: Tensor,
    content: Tensor,
    least: float,
    smallest: int,
    rounds: int,
    patience: int,
    most: int = 32,
) -> Covered | None:
    """EM from ``group`` in features that are whitened without it and without the images that share it.

    In coordinates that were whitened with them, the metric without them is one less their part of the covariance.
    After ``patience`` rounds the groups have to be nearly as far apart as asked.
    """
    white, label, own = data.white, data.label, data.label[rows[0]]
    out = torch.zeros_like(label, dtype=torch.bool)
    out[rows[group]] = True
    for step in range(rounds):
        at = out.nonzero().flatten()
        if 2 * len(at) > len(label):
            return None
        count = label[at].bincount(minlength=len(data.size))
        sums = torch.zeros_like(data.sums).index_add_(0, label[at], white[at])
        left = data.size - count
        mean = (data.sums - sums) / left.clamp(min=1)[:, None]
        theirs = sums / count.clamp(min=1)[:, None]
        scatter = white[at] - theirs[label[at]]
        between = (theirs - mean) * (count * left / data.size.clamp(min=1)).to(white).sqrt()[:, None]
        removed = (scatter.T @ scatter + between.T @ between) / len(label)
        kept = torch.eye(len(removed), dtype=white.dtype, device=white.device) - removed
        factor, failed = torch.linalg.cholesky_ex(kept)
        if int(failed):  # without the group nothing varies in some direction
            return None
        others = _nearest(data, rows[group], content, left, most)
        span = torch.linalg.solve_triangular(factor, (mean[others] - mean[own]).T, upper=False)
        basis = torch.linalg.qr(span).Q
        inside = torch.linalg.solve_triangular(factor, white[rows].T, upper=False).T
        inside = inside - (inside @ basis) @ basis.T
        split = splits_from(inside, group.to(white)[:, None], 15)
        group = split.weight[:, 0] > 0.5
        if min(int(group.sum()), int((~group).sum())) < smallest:
            return None
        direction = torch.linalg.solve_triangular(factor.T, split.direction, upper=True)
        out = (white @ direction)[:, 0] > split.middle[0]
        out[rows] = False
        if step >= patience and float(split.apart[0]) < least - SLACK:  # at first those that share it are still in
            return None
        shares = out.clone()
        out[rows[group]] = True
    share = float(shares.sum() + 1) / (len(label) - len(rows))
    if float(split.apart[0]) < least or float(group.float().mean()) < SHARED * share:
        return None
    return Covered(float(split.apart[0]), split.weight[:, 0], shares)


def _nearest(data: _Data, rows: Tensor, content: Tensor, left: Tensor, most: int) -> Tensor:
    """The other classes whose content these images are nearest to, at most ``most``; ``left`` is who else is there."""
    there = left > 0
    there[data.label[rows[0]]] = False
    classes = there.nonzero().flatten()
    if len(classes) <= most:
        return classes
    nearest = (content[rows] @ data.content[classes].T).argmax(1)
    return classes[nearest.bincount(minlength=len(classes)).argsort(descending=True, stable=True)[:most]]
