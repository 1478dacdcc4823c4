"""Accept, relabel or drop, by what a method on the embedding says of each image and how sure it is."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FEWEST = 5
"""Accepted images that a class needs for a T of its own: a percentile of fewer is the confidence of one or two."""


class Relabeling(NamedTuple):
    """What becomes of every image; each is in exactly one of the three masks."""

    accepted: Tensor
    """(n,) bool: the prediction is the given label, which stays."""

    relabeled: Tensor
    """(n,) bool: another class is predicted, with confidence above the threshold."""

    dropped: Tensor
    """(n,) bool: the rest."""

    label: Tensor
    """(n,) int64: the given label where accepted, the predicted one where relabeled, -1 where dropped."""

    threshold: Tensor
    """(m,) float: T of each of the m methods that were asked, one unless combined; with a T for each class, the (C,) of
    every method in turn, inf for a class of which fewer than `FEWEST` images are accepted."""

    as_certain: Tensor
    """(n,) bool: of the relabeled, those at T and not above it (D77)."""


def relabel_confident(
    label: Tensor, prediction: Tensor, confidence: Tensor, percentile: float = 80.0, by_class: bool = False
) -> Relabeling:
    """Accept where prediction and label agree, relabel where the rest is sure enough.

    Wang et al. 2022 (arXiv 2210.10272), Algorithm 1, lines 7 to 15. T is a percentile, linearly interpolated, of the
    confidences of all accepted images together. A rejected image is relabeled when its confidence is above T; or equal
    to it, where T is the largest confidence of an accepted image and nothing could be above it (D77).

    Args:
        label: (n,) int64, as given; a withheld one (-1) is never accepted.
        prediction: (n,) int64.
        confidence: (n,) float.
        percentile: lambda, in [0, 100].
        by_class: take T of each class from the images that are accepted in it, and compare with the T of the predicted
            class, where confidences of different classes do not compare (D85). Of fewer than `FEWEST` images none is
            taken: nothing is relabeled into such a class.

    Returns:
        The masks, the labels after relabeling, and T.

    Raises:
        ValueError: nothing is accepted, so that there is no T, a confidence that is not finite, another number of
            labels than of predictions or confidences, or a percentile out of range.

    >>> label, prediction = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 0, 0])
    >>> result = relabel_confident(label, prediction, torch.tensor([0.5, 0.75, 1.0, 0.8, 0.95]))
    >>> result.accepted.tolist(), result.dropped.tolist(), result.label.tolist()
    ([True, True, True, False, False], [False, False, False, True, False], [0, 0, 1, -1, 0])
    >>> round(result.threshold.item(), 4)
    0.9
    """
    if label.ndim != 1 or not label.shape == prediction.shape == confidence.shape:
        shapes = f"{tuple(label.shape)}, {tuple(prediction.shape)} and {tuple(confidence.shape)}"
        raise ValueError(f"label, prediction and confidence are all (n,), not {shapes}")
    if not 0 <= percentile <= 100:
        raise ValueError(f"percentile is between 0 and 100, not {percentile}")
    if not confidence.isfinite().all():
        raise ValueError(f"{int((~confidence.isfinite()).sum())} of {len(confidence)} confidences are not finite")
    accepted = label == prediction
    if not accepted.any():
        raise ValueError(
            f"none of the {len(label)} predictions is the given label, so that no confidence can be the threshold: "
            "check that features and labels are in the same order, or take an encoder that separates the classes"
        )
    group = prediction if by_class else torch.zeros_like(prediction)
    threshold = confidence.new_full((int(group.max()) + 1,), torch.inf)
    largest = threshold.clone()
    for c in torch.unique(group[accepted]).tolist():
        known = confidence[accepted & (group == c)]
        if by_class and len(known) < FEWEST:
            continue
        threshold[c] = _percentile(known, percentile)
        largest[c] = known.max()
    saturated = (threshold == largest) & threshold.isfinite()
    as_certain = ~accepted & saturated[group] & (confidence == threshold[group])
    relabeled = ~accepted & (confidence > threshold[group]) | as_certain
    return Relabeling(
        accepted=accepted,
        relabeled=relabeled,
        dropped=~accepted & ~relabeled,
        label=torch.where(accepted | relabeled, prediction, -1),
        threshold=threshold,
        as_certain=as_certain,
    )


def _percentile(value: Tensor, percentile: float) -> Tensor:
    """Linearly interpolated, without `torch.quantile`'s limit of 16 million values and its float32 positions."""
    ascending, position = value.sort().values, percentile / 100 * (len(value) - 1)
    below = math.floor(position + 1e-9)
    low, high = ascending[below], ascending[min(below + 1, len(value) - 1)]
    return low + max(0.0, position - below) * (high - low)
