"""Is a class under attack, which, by which sign, and which images: the rule of ``cleanse check``."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional.content_votes import Votes, content_votes
from cleanse.functional.count_scenes import count_scenes, likeness_of_twins
from cleanse.functional.foreign_cluster import foreign_cluster
from cleanse.functional.foreign_excess import QUANTILE, foreign_excess, is_excess
from cleanse.functional.shared_trait import shared_trait
from cleanse.functional.trigger_cluster import trigger_cluster
from cleanse.functional.whiten_within import whiten_within

TRIGGER, FOREIGN, TRAIT = 1, 2, 4
"""Signs, whose sum is kept: a cluster that no other class has; more images than elsewhere that look foreign; images
that look foreign and share something that this does not explain."""


CROWD = 3
"""Where more than one class in CROWD has a separate cluster, clusters are a property of the data (scenes, series)."""


class Checked(NamedTuple):
    """Evidence for each class, and what becomes of each image."""

    sign: Tensor
    """(C,) int64: 0 for a class that is not named, else the sum of its signs."""

    separation: Tensor
    """(C,) float: of the class's most separate cluster of its own; natural ones stay below `separation_limit`."""

    ratio: Tensor
    """(C,) float: of images that surely look foreign, to the other classes' share; about 1 in a clean class."""

    gap: Tensor
    """(C,) float: how much more foreign its images look that share a trait; natural ones stay below 1.3."""

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

    def of_images(self, rows: Tensor) -> "Checked":
        """The same evidence, and the decisions of ``rows`` (m,) int64: for copies of the images that were judged."""
        of_images = ("score", "flagged", "prediction", "confidence", "relabel")
        return self._replace(**{name: getattr(self, name)[rows] for name in of_images})


def check_labels(
    content: Tensor,
    early: Tensor,
    label: Tensor,
    votes: Votes | None = None,
    k: int = 20,
    separate: float = 3.8,
    excess: float = 2.5,
    trait: float = 1.4,
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
    3. Votes again, without those images as voters. A class with more images that surely look foreign than the others
       (beyond ``excess`` times their share, and chance) is named; so is one where such images share a trait that what
       they look like does not explain. Flagged is what looks foreign in it, or is grouped with such images.
    4. Everywhere else only images are flagged whose votes are surely against their label.

    Step 2 is left out where it means nothing: with fewer images than early features, in a class of fewer than
    ``fewest`` images, and where more than a third of the classes have such a cluster (images come in scenes or series).
    Where the images outside the cluster are the foreign ones, they are taken for it: each class may be alone on its
    side.

    Args:
        content: (n, d) float, final pooled features of a frozen encoder.
        early: (n, p) float, an early layer's features on a coarse grid of the image.
        label: (n,) int64, as given.
        votes: of all images, if they are there already; None to take them.
        k: neighbors.
        separate: least separation of a trigger's cluster in a large class, see `separation_limit`.
        excess: what a hard class reaches; above it (and above chance), a class is named.
        trait: least gap of images that share a trait.
        smallest: different pictures that make evidence.
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
    >>> content = 4 * torch.eye(50)[true] + 0.3 * torch.randn(600, 50, generator=generator)
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
    enough = len(label) >= early.shape[1]
    judged = [c for c in range(classes) if enough and int((label == c).sum()) >= fewest]
    (_, surely), alike = foreign_excess(margin, label), likeness_of_twins(content, label)
    for c in judged:
        found = trigger_cluster(white, label, c, margin, content, alike, smallest)
        separation[c] = found.separation
        if found.separation >= separation_limit(len(found.posterior), separate):
            sign[c] += TRIGGER
            posterior[label == c] = _foreign_side(found.posterior, surely[label == c], excess).to(share)
    if int(sign.count_nonzero()) > max(1, len(torch.unique(label)) // CROWD):
        sign.zero_()
        posterior.zero_()
    cluster = posterior > 0.1
    if cluster.any():
        share, margin = content_votes(content, label, k, voter=~cluster)
    confidence, prediction = share.max(1)
    rest = ~cluster
    ratio, surely = foreign_excess(margin[rest], label[rest])
    ratio = torch.cat([ratio, ratio.new_zeros(classes - len(ratio))])
    kinds = content[rest], label[rest]
    count = torch.tensor(
        [count_scenes(kinds[0][surely & (kinds[1] == c)], alike) for c in range(classes)], device=sign.device
    )
    size = label[rest].bincount(minlength=classes)
    sign += FOREIGN * (is_excess(count, (1 - QUANTILE) * size, excess) & (count >= smallest))
    gap = share.new_zeros(classes)
    for c in judged:
        here = (label == c)[rest]
        if 2 * smallest > int(here.sum()) or bool(here.all()):
            continue
        value, group = shared_trait(white[rest], label[rest], c, margin[rest], prediction[rest])
        if value < trait or count_scenes(content[rest][here][group], alike) >= smallest:
            gap[c] = value
    sign += TRAIT * (gap >= trait)
    score = torch.where(cluster, 1 + posterior, margin)
    named = (sign >= FOREIGN).nonzero().flatten().tolist()
    flagged = cluster | (margin > (elsewhere if named or cluster.any() else lenient))
    for c in named:
        inside = rest & (label == c)
        group = torch.zeros_like(score)
        group[inside] = foreign_cluster(white[rest], label[rest], c, margin[rest]).weight.to(score)
        flagged |= inside & ((group > 0.5) | (margin > 0.5) | ((margin > 0) & (group > 0.01)))
        score = torch.where(inside, torch.maximum(score, group + (margin > 0) * (1 + margin) / 2).clamp(max=2), score)
    relabel = flagged & (score > 1) & (prediction != label) & (confidence >= certain)
    return Checked(sign, separation, ratio, gap, score, flagged, prediction, confidence, relabel)


def separation_limit(images: int, separate: float = 3.8) -> float:
    """The separation above which a class of so many images is named.

    In few images some two groups are always far apart. The largest natural ones: 4.4 in classes of 150 images (GTSRB),
    4.2 in 430 and 3.9 in 1,000 (CIFAR-10, Fashion-MNIST).

    >>> round(separation_limit(150), 1), round(separation_limit(5000), 1)
    (4.5, 3.9)
    """
    return separate + 9 / math.sqrt(images)


def _foreign_side(posterior: Tensor, surely: Tensor, excess: float) -> Tensor:
    """The posterior of the images outside a cluster instead, if they are the foreign ones."""
    sides = [surely[posterior > 0.5], surely[posterior <= 0.5]]
    (inside, outside), expected = ((s.float().mean().nan_to_num() for s in sides), (1 - QUANTILE) * len(sides[1]))
    foreign = is_excess(sides[1].sum(), torch.tensor(expected, device=surely.device), excess)
    return 1 - posterior if foreign and outside > inside else posterior
