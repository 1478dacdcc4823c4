"""Votes of the nearest neighbors, weighed by class size: what an image looks like, whatever its label says."""

from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional._finite import check_finite
from cleanse.functional.voting_rows import voting_rows

VOTERS = 50_000
"""Images that vote, at most: with a fixed number of them, time grows with the number of images, not with its square."""
SMALLEST = 10
"""A class of fewer voters is weighed as one of so many, so that a handful of images attracts nobody (D84)."""
SAME = 2e-3
"""Features of one picture differ by less, of the largest: by the rounding of their 16 bits."""


class Votes(NamedTuple):
    """What the neighbors of each image say."""

    prediction: Tensor
    """(n,) int64, the class with the largest share of the votes."""

    confidence: Tensor
    """(n,) float in [0, 1], its share."""

    margin: Tensor
    """(n,) float in [-1, 1], the best other class's share minus that of the given one."""

    near: Tensor
    """(n, k) int64, the rows that voted."""


def content_votes(
    features: Tensor,
    label: Tensor,
    k: int = 20,
    voter: Tensor | None = None,
    most: int = VOTERS,
    before: Votes | None = None,
    block: int = 1024,
) -> Votes:
    """The share of each class among the k nearest voters, each vote divided by the number of voters of its class.

    Leave-one-out: no image votes for itself, nor is it counted in its class. So a class of fifty beside classes of five
    hundred keeps its images; one of fewer than `SMALLEST` counts as that many. The votes of Wang et al. (2022, arXiv
    2210.10272), on features that are centered first (the features of a network that ends in a ReLU all point the same
    way).

    Of more than ``most`` images that many vote, drawn in each class (`voting_rows`), and on all of them.

    Args:
        features: (n, d) float, of a frozen encoder.
        label: (n,) int64, classes from 0.
        k: neighbors; at most the number of voters less one.
        voter: (n,) bool, whose labels count; None for all.
        most: images that vote.
        before: votes of the same images among more voters: who has lost none of his neighbors keeps them.
        block: rows compared at a time; memory is block times the number of voters or classes.

    Returns:
        Votes of every image, whether it votes or not.

    Raises:
        ValueError: other shapes, fewer than two classes or three voters, one image in every class, or features that
            are not finite.

    >>> features = torch.tensor([[4.0, 0.0], [4.0, 0.2], [4.0, 0.3], [0.0, 4.0], [0.4, 4.0], [4.0, -0.2]])
    >>> content_votes(features, torch.tensor([0, 0, 0, 1, 1, 1]), k=1).margin.tolist()
    [1.0, -1.0, -1.0, -1.0, -1.0, 1.0]
    """
    n = len(features)
    if features.ndim != 2 or label.shape != (n,):
        raise ValueError(f"features are (n, d) and labels (n,), not {tuple(features.shape)} and {tuple(label.shape)}")
    check_finite(features)
    if 1 < n == len(torch.unique(label)):
        same = float((features - features[0]).abs().max()) <= SAME * float(features.abs().max())
        what = "all images are the same picture" if same else "each class has a single image, or copies of one"
        raise ValueError(f"{what}: an image is compared with others of its class, so give classes of several pictures")
    counts = torch.zeros(n, dtype=torch.bool, device=label.device).index_fill_(0, voting_rows(label, most), True)
    if voter is not None:
        counts &= voter
    pool = counts.nonzero().flatten()
    classes = int(label.max()) + 1
    voted_for = len(torch.unique(label[pool]))
    if voted_for < 2 or len(pool) < 3:
        raise ValueError(f"votes need two classes and three voters, not {len(pool)} voters in {voted_for} classes")
    k = min(k, len(pool) - 1)
    if before is None or before.near.shape != (n, k):
        near, lost = torch.empty(n, k, dtype=torch.int64, device=label.device), torch.arange(n, device=label.device)
    else:
        near, lost = before.near.clone(), (~counts[before.near]).any(1).nonzero().flatten()
    mean = features.mean(0)
    unit = torch.nn.functional.normalize(features[pool] - mean)
    column = torch.full((n,), -1, dtype=torch.int64, device=label.device)
    column[pool] = torch.arange(len(pool), device=label.device)
    for rows in torch.split(lost, block):
        similarity = torch.nn.functional.normalize(features[rows] - mean) @ unit.T
        own = counts[rows].nonzero().flatten()
        similarity[own, column[rows[own]]] = -torch.inf
        near[rows] = pool[similarity.topk(k, 1).indices]
    size = label[pool].bincount(minlength=classes).to(unit)
    prediction = torch.empty(n, dtype=torch.int64, device=label.device)
    confidence, margin = unit.new_empty(n), unit.new_empty(n)
    for rows in torch.split(torch.arange(n, device=label.device), block):
        voted, given = label[near[rows]], label[rows][:, None]
        votes = torch.zeros(len(rows), classes, dtype=unit.dtype, device=unit.device)
        votes.scatter_add_(1, voted, torch.ones_like(voted, dtype=unit.dtype))
        others = size.repeat(len(rows), 1)
        own = counts[rows].nonzero().flatten()
        others[own, label[rows[own]]] -= 1
        votes /= others.clamp(min=SMALLEST)
        share = votes / votes.sum(1, keepdim=True)
        confidence[rows], prediction[rows] = share.max(1)
        margin[rows] = share.scatter(1, given, -1.0).amax(1) - share.gather(1, given)[:, 0]
    return Votes(prediction, confidence, margin, near)
