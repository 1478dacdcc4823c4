"""Votes of the nearest neighbors, weighed by class size: what an image looks like, whatever its label says."""

from typing import NamedTuple

import torch
from torch import Tensor


class Votes(NamedTuple):
    """What the neighbors of each image say."""

    share: Tensor
    """(n, C) float, rows of sum 1, C the largest label + 1."""

    margin: Tensor
    """(n,) float in [-1, 1], the best other class's share minus that of the given one."""


def content_votes(
    features: Tensor, label: Tensor, k: int = 20, voter: Tensor | None = None, block: int = 1024
) -> Votes:
    """The share of each class among the k nearest voters, each vote divided by the number of voters of its class.

    Leave-one-out: no image votes for itself, nor is it counted in its class. So a class of fifty beside classes of five
    hundred keeps its images. The votes of Wang et al. (2022, arXiv 2210.10272), on features that are centered first
    (the features of a network that ends in a ReLU all point the same way).

    Args:
        features: (n, d) float, of a frozen encoder.
        label: (n,) int64, classes from 0.
        k: neighbors; at most the number of voters less one.
        voter: (n,) bool, whose labels count; None for all.
        block: rows compared at a time; memory is block * n numbers.

    Returns:
        Shares and margins.

    Raises:
        ValueError: other shapes, fewer than two classes or three voters, or features that are not finite.

    >>> features = torch.tensor([[4.0, 0.0], [4.0, 0.2], [4.0, 0.3], [0.0, 4.0], [0.4, 4.0], [4.0, -0.2]])
    >>> content_votes(features, torch.tensor([0, 0, 0, 1, 1, 1]), k=1).margin.tolist()
    [1.0, -1.0, -1.0, -1.0, -1.0, 1.0]
    """
    n = len(features)
    if features.ndim != 2 or label.shape != (n,):
        raise ValueError(f"features are (n, d) and labels (n,), not {tuple(features.shape)} and {tuple(label.shape)}")
    if not features.isfinite().all():
        raise ValueError("features that are not finite: the encoder overflowed, or an image is damaged")
    counts = torch.ones(n, dtype=torch.bool, device=label.device) if voter is None else voter
    pool = counts.nonzero().flatten()
    classes = int(label.max()) + 1
    if int((label[pool].bincount() > 0).sum()) < 2 or len(pool) < 3:
        raise ValueError(f"votes need two classes and three voters, not {len(pool)} voters of one class")
    k = min(k, len(pool) - 1)
    unit = torch.nn.functional.normalize(features - features.mean(0))
    size = label[pool].bincount(minlength=classes).to(unit)
    share = unit.new_empty(n, classes)
    column = torch.full((n,), -1, dtype=torch.int64, device=label.device)
    column[pool] = torch.arange(len(pool), device=label.device)
    near, their = unit[pool], label[pool]
    for start in range(0, n, block):
        rows = torch.arange(start, min(n, start + block), device=label.device)
        similarity = unit[rows] @ near.T
        own = counts[rows].nonzero().flatten()
        similarity[own, column[rows[own]]] = -torch.inf
        voted = their[similarity.topk(k, 1).indices]
        votes = torch.zeros(len(rows), classes, dtype=unit.dtype, device=unit.device)
        votes.scatter_add_(1, voted, torch.ones_like(voted, dtype=unit.dtype))
        others = size.repeat(len(rows), 1)
        others[own, label[rows[own]]] -= 1
        votes /= others.clamp(min=1)
        share[rows] = votes / votes.sum(1, keepdim=True)
    given = share.gather(1, label[:, None])[:, 0]
    return Votes(share, share.scatter(1, label[:, None], -1.0).amax(1) - given)
