"""Two methods on the same images: trust what both say."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cleanse.functional.relabel_confident import Relabeling


def combine(first: Relabeling, second: Relabeling) -> Relabeling:
    """Accept what both accept, relabel what both relabel to the same class, drop the rest.

    Wang et al. 2022 (arXiv 2210.10272), appendix G. Each method has found its own threshold on the images that it
    accepts itself (D79); both are handed on.

    Args:
        first: of one method, n images.
        second: of the other method, the same images and given labels.

    Returns:
        Masks and labels as of one method, the thresholds of both in turn.

    Raises:
        ValueError: another number of images, or images that both accept with different labels.

    >>> from cleanse.functional import relabel_confident
    >>> label, confidence = torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.9, 0.9])
    >>> first = relabel_confident(label, torch.tensor([0, 0, 0]), confidence)
    >>> both = combine(first, relabel_confident(label, torch.tensor([0, 0, 2]), confidence))
    >>> both.accepted.tolist(), both.relabeled.tolist(), both.label.tolist()
    ([True, False, False], [False, True, False], [0, 0, -1])
    """
    if first.accepted.shape != second.accepted.shape:
        raise ValueError(
            f"both methods judge the same images, not {len(first.accepted)} and {len(second.accepted)} of them"
        )
    accepted = first.accepted & second.accepted
    same = first.label == second.label
    if not same[accepted].all():
        raise ValueError(f"both methods get the same labels, but {int((~same & accepted).sum())} accepted ones differ")
    relabeled = first.relabeled & second.relabeled & same
    return Relabeling(
        accepted=accepted,
        relabeled=relabeled,
        dropped=~accepted & ~relabeled,
        label=torch.where(accepted | relabeled, first.label, -1),
        threshold=torch.cat([first.threshold, second.threshold]),
        as_certain=relabeled & (first.as_certain | second.as_certain),
    )


def mean_rank(scores: Sequence[Tensor]) -> Tensor:
    """One order from several scores of the same images: the mean of their ranks.

    Args:
        scores: of each method (n,) float.

    Returns:
        (n,) float32 from 0 for the lowest to 1 for the highest; equal scores share their rank.

    >>> mean_rank([torch.tensor([3.0, 1.0, 2.0]), torch.tensor([0.5, 0.5, 7.0])]).tolist()
    [0.625, 0.125, 0.75]
    """
    return torch.stack([_rank(score) for score in scores]).mean(0)


def _rank(score: Tensor) -> Tensor:
    _, place, count = torch.unique(score, return_inverse=True, return_counts=True)
    middle: Tensor = count.cumsum(0) - (count - 1) / 2 - 1
    return (middle / max(1, len(score) - 1)).float()[place]
