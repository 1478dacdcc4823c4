"""Is a class under attack, which, by which sign, and which images: the rule of ``cleanse check``."""

from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional.content_votes import Votes, content_votes
from cleanse.functional.foreign_cluster import foreign_cluster
from cleanse.functional.foreign_excess import foreign_excess
from cleanse.functional.trigger_cluster import trigger_cluster
from cleanse.functional.whiten_within import whiten_within

TRIGGER, FOREIGN = 1, 2
"""Signs: a cluster that no other class has; more images than elsewhere that look foreign. Their sum: both."""


CROWD = 3
"""Where more than one class in CROWD has a separate cluster, clusters are a property of the data (scenes, series)."""


class Checked(NamedTuple):
    """Evidence for each class, and what becomes of each image."""

    sign: Tensor
    """(C,) int64: 0 for a class that is not named, else TRIGGER, FOREIGN or their sum."""

    separation: Tensor
    """(C,) float: of the class's most separate cluster of its own; natural ones stay below 4.2."""

    ratio: Tensor
    """(C,) float: of images that surely look foreign, to the other classes' share; about 1 in a clean class."""

    score: Tensor
    """(n,) float in [-1, 2]: the higher, the more suspicious; above 1, in the group of a named class."""

    flagged: Tensor
    """(n,) bool: not to be kept under its label."""

    prediction: Tensor
    """(n,) int64: what the image looks like, by the votes of images that are not in a trigger's cluster."""

    confidence: Tensor
    """(n,) float: the share of that class in the votes."""

    relabel: Tensor
    """(n,) bool: in the group of a named class, and sure enough of the other class. Elsewhere a flag is as often the
    encoder's error as a wrong label."""


def check_labels(
    content: Tensor,
    early: Tensor,
    label: Tensor,
    votes: Votes | None = None,
    k: int = 20,
    separate: float = 4.2,
    excess: float = 4.0,
    smallest: int = 10,
    fewest: int = 100,
    lenient: float = 0.6,
    elsewhere: float = 0.8,
    certain: float = 0.8,
) -> Checked:
    """Class-level evidence first, image-level decisions after: strict in a class that is named, lenient elsewhere.

    1. Votes (Wang et al. 2022, arXiv 2210.10272) on the final features, divided by class size.
    2. In each class, the split of its early features that is most bimodal and that no other class shares (after SCAn,
       Tang et al. 2019, arXiv 1908.00686). Above ``separate`` the class is named, its cluster flagged.
    3. Votes again, without those images as voters. A class whose images look foreign ``excess`` times as often as
       others' is named; flagged is what looks foreign in it, or is grouped with such images.
    4. Everywhere else only images are flagged whose votes are surely against their label.

    Step 2 is left out where it means nothing: with fewer images than early features, in a class of fewer than
    ``fewest`` images, and where more than a third of the classes have such a cluster (images come in scenes or series).

    Args:
        content: (n, d) float, final pooled features of a frozen encoder.
        early: (n, p) float, an early layer's features on a coarse grid of the image.
        label: (n,) int64, as given.
        votes: of all images, if they are there already; None to take them.
        k: neighbors.
        separate: least separation of a trigger's cluster.
        excess: least ratio of foreign images.
        smallest: images that make evidence.
        fewest: a class with fewer images gives no evidence of a cluster: few are always far apart in many dimensions.
        lenient: margin above which an image is flagged if no class is named.
        elsewhere: the same for images outside a named class, if one is.
        certain: share of the votes from which an image in the group of a named class is relabeled.

    Returns:
        Evidence and decisions.

    Raises:
        ValueError: as `content_votes` and `whiten_within`.

    >>> generator = torch.Generator().manual_seed(0)
    >>> true = torch.arange(600) % 3
    >>> content = 4 * torch.eye(3)[true] + 0.3 * torch.randn(600, 3, generator=generator)
    >>> early = torch.randn(600, 64, generator=generator)
    >>> early[:60] += 2
    >>> label = torch.where(torch.arange(600) < 60, 0, true)
    >>> found = check_labels(content, early, label)
    >>> found.sign.tolist(), int(found.flagged.sum()), int(found.relabel.sum())
    ([1, 0, 0], 60, 40)
    """
    share, margin = content_votes(content, label, k) if votes is None else votes
    white = whiten_within(early, label)
    classes = share.shape[1]
    sign = torch.zeros(classes, dtype=torch.int64, device=label.device)
    separation = share.new_zeros(classes)
    posterior = share.new_zeros(len(label))
    # with fewer images than early features, the whitened ones tell any two groups apart: votes alone
    for c in range(classes if len(label) >= early.shape[1] else 0):
        if int((label == c).sum()) < fewest:
            continue
        found = trigger_cluster(white, label, c, margin, smallest)
        separation[c] = found.separation
        if found.separation >= separate:
            sign[c] += TRIGGER
            posterior[label == c] = found.posterior.to(share)
    if int(sign.count_nonzero()) > max(1, len(torch.unique(label)) // CROWD):
        sign.zero_()
        posterior.zero_()
    cluster = posterior > 0.1
    if cluster.any():
        share, margin = content_votes(content, label, k, voter=~cluster)
    rest = ~cluster
    ratio, count = foreign_excess(margin[rest], label[rest])
    ratio, count = (torch.cat([t, t.new_zeros(classes - len(t))]) for t in (ratio, count))
    score = torch.where(cluster, 1 + posterior, margin)
    named = ((ratio >= excess) & (count >= smallest)).nonzero().flatten().tolist()
    flagged = cluster | (margin > (elsewhere if named or cluster.any() else lenient))
    for c in named:
        sign[c] += FOREIGN
        inside = rest & (label == c)
        group = torch.zeros_like(score)
        group[inside] = foreign_cluster(white[rest], label[rest], c, margin[rest]).to(score)
        flagged |= inside & ((group > 0.5) | (margin > 0.5) | ((margin > 0) & (group > 0.01)))
        score = torch.where(inside, torch.maximum(score, group + (margin > 0) * (1 + margin) / 2).clamp(max=2), score)
    confidence, prediction = share.max(1)
    relabel = flagged & (score > 1) & (prediction != label) & (confidence >= certain)
    return Checked(sign, separation, ratio, score, flagged, prediction, confidence, relabel)
