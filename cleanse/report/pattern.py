"""What the suspicious images of one class share: their mean difference to their nearest neighbors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from cleanse.report.figures import place
from cleanse.report.most_suspicious import most_suspicious
from cleanse.verdict import Verdict

FEWEST, MOST = 5, 48
"""Suspicious images that are compared, at least and at most."""
TOLD, TOUCHING = 20, 6
"""Of fewer suspicious images, or of fewer shared pixels that touch, nothing is said: images that are merely alike share
as much. The picture is shown all the same."""
CLEAR = 9
"""So many touching pixels are called a clear sign, fewer a weak one: see docs/decisions.md, D320."""
BESIDE = 4
"""Kept neighbors of each."""
STRONG = 0.15
"""A mean difference, of the range of a pixel, below which a pixel is not said to differ. A convention."""
STEADY = 0.5
"""A pixel is shared where its spread over the suspicious images is below this part of its spread over the others."""
LARGEST = 0.5
"""A larger part of the pixels is no pattern that words could place."""
SEE_REPORT = " The report shows it enlarged."
"""What a summary adds to the sentence, and the report does not."""


@dataclass(frozen=True)
class Pattern:
    """The mean difference between suspicious images of a class and the kept images that are most like them.

    Attributes:
        label: their class, as given.
        rows: of the verdict, the suspicious images.
        difference: (C, H, W) float in [-1, 1].
        shared: (H, W) bool: pixels that differ clearly and are nearly alike in all of them.
        words: a sentence that says how strong the sign is; empty below the bar.
    """

    label: int
    rows: Sequence[int]
    difference: Tensor
    shared: Tensor
    words: str


def suspicious_rows(verdict: Verdict, num_classes: int) -> list[int]:
    """The most suspicious flagged images of the class with the largest share of them; empty without enough."""
    given = (verdict.label >= 0) & torch.tensor([not why.startswith("unreadable: ") for why in verdict.reason])
    flagged = given & ~verdict.kept
    count = verdict.label[flagged].bincount(minlength=num_classes)
    share = count.double() / verdict.label[given].bincount(minlength=num_classes).clamp(min=1)
    share[count < FEWEST] = 0
    if not len(share) or not bool(share.max() > 0):
        return []
    own = (flagged & (verdict.label == int(share.argmax()))).nonzero().flatten()
    return most_suspicious(verdict, own.tolist(), MOST)


def kept_neighbors(features: Tensor, verdict: Verdict, rows: Sequence[int], k: int = BESIDE) -> dict[int, list[int]]:
    """For each of some rows, the kept images that have the highest cosine similarity with it.

    Args:
        features: (m, D) float, of the first m rows of the verdict.
        verdict: of n >= m images.
        rows: of ``features``.
        k: fewer where there are not as many.
    """
    kept = verdict.kept[: len(features)].nonzero().flatten()
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    similar = unit[torch.tensor(rows)] @ unit[kept].T
    found = torch.sort(similar, descending=True, stable=True).indices[:, : min(k, len(kept))]
    return {row: kept[near].tolist() for row, near in zip(rows, found, strict=True)}


def kept_peers(verdict: Verdict, label: int) -> list[int]:
    """Some kept images of a class, evenly spaced over it."""
    kept = (verdict.kept & (verdict.label == label)).nonzero().flatten()
    return kept[torch.linspace(0, len(kept) - 1, min(MOST, len(kept))).round().long()].tolist()


def shared_pattern(
    images: Mapping[int, Tensor],
    near: Mapping[int, Sequence[int]],
    peers: Sequence[int],
    verdict: Verdict,
    classes: Sequence[str],
) -> Pattern | None:
    """Compare suspicious images with their kept neighbors; None where there are too few of either.

    A pixel is shared where the suspicious images differ from their neighbors and from the kept images of their own
    class, both in the same direction, and are nearly alike: a silhouette that tells two classes apart is not.

    Args:
        images: row of the verdict to (C, H, W) uint8.
        near: suspicious row to kept rows.
        peers: kept rows of the same class.
        verdict: with those rows.
        classes: names.
    """
    rows = [row for row, others in near.items() if others]
    if len(rows) < FEWEST:
        return None
    own = torch.stack([images[row] for row in rows]).float() / 255
    others = torch.stack([torch.stack([images[i] for i in near[row]]).float().mean(0) / 255 for row in rows])
    beside = torch.stack([images[i] for row in rows for i in near[row]]).float() / 255
    difference = (own - others).mean(0)
    steady = own.std(0) <= STEADY * beside.std(0).clamp(min=1 / 255)
    shared = (difference.abs() >= STRONG) & steady
    if peers:
        from_peers = own.mean(0) - torch.stack([images[i] for i in peers]).float().mean(0) / 255
        shared &= from_peers * difference.sign() >= STRONG
    shared = shared.any(0)
    label = int(verdict.label[rows[0]])
    return Pattern(label, rows, difference, shared, _words(shared, difference, len(rows), repr(classes[label])))


def _words(shared: Tensor, difference: Tensor, count: int, name: str) -> str:
    part, touching = float(shared.float().mean()), largest_patch(shared)
    if count < TOLD or touching < TOUCHING or part > LARGEST:
        return ""
    weight = difference.abs().amax(0) * shared
    height, width = shared.shape
    y = float((weight.sum(1) * (torch.arange(height) + 0.5)).sum() / weight.sum()) / height
    x = float((weight.sum(0) * (torch.arange(width) + 0.5)).sum() / weight.sum()) / width
    sign = (
        "A clear sign: as many pixels side by side are seldom shared by chance."
        if touching >= CLEAR
        else "A weak sign: images that are merely alike share as much now and then."
    )
    beside = "all" if touching == int(shared.sum()) else f"{touching} of them"
    return (
        f"Of {count} suspicious images of class {name}, most share a pattern that the images most like them do not "
        f"have, surely so in {int(shared.sum())} of {height * width} pixels, {beside} side by side, at the "
        f"{place(x, y)}. "
        f"{sign}"
    )


def largest_patch(mask: Tensor) -> int:
    """Pixels of the largest group that touches, also at corners.

    Args:
        mask: (H, W) bool.

    >>> largest_patch(torch.tensor([[1, 0, 0, 1], [0, 1, 0, 1]]) == 1), largest_patch(torch.zeros(2, 2) > 0)
    (2, 0)
    """
    group = (torch.arange(mask.numel(), dtype=torch.float64).view(mask.shape) + 1) * mask
    while True:  # each pixel takes the largest number around it, until every group has one number
        around = max_pool2d(group[None], 3, stride=1, padding=1)[0] * mask
        if torch.equal(around, group):
            break
        group = around
    return int(group[mask].long().bincount().max()) if bool(mask.any()) else 0
