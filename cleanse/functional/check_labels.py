"""Is a class under attack, which, by which sign, and which images: the rule of ``cleanse check``."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional.content_votes import VOTERS, Votes, content_votes
from cleanse.functional.count_scenes import count_scenes, likeness_of_twins
from cleanse.functional.covered_cluster import covered_clusters, is_covered
from cleanse.functional.foreign_cluster import foreign_cluster
from cleanse.functional.foreign_excess import QUANTILE, foreign_excess, is_excess
from cleanse.functional.normal_scores import normal_scores
from cleanse.functional.shared_trait import class_means, shared_trait
from cleanse.functional.spread_cluster import spread_cluster
from cleanse.functional.trigger_cluster import trigger_clusters
from cleanse.functional.whiten_within import whiten_within

TRIGGER, FOREIGN, TRAIT, COVERED, SPREAD = 1, 2, 4, 8, 16
"""Signs, whose sum is kept: a cluster that no other class has; more images than elsewhere that look foreign; images
that look foreign and share something that this does not explain; a cluster that looks foreign, while images of other
classes that share it (covers) look like their own; a part of a cluster of several classes' images that hardly ever
look like their label."""

OUTSTANDING = 1.3
"""A class's separation is at least so many times that which all but a fifth of the other classes stay below."""
BEYOND = 0.5
"""A cluster that others share is so much further apart: natural ones reached 4.1 in a class of 250 (GTSRB)."""
NEARER = 0.5
"""A cluster of images of several classes may be so much less far apart: of all images natural groups are 2.2 to 2.8."""
HARDLY = 0.8
"""Of a cluster of several classes so many images look like another class than theirs: more than an encoder errs."""
AT_MOST = 0.9
"""The share of one class in it: above, it is that class's."""
CROWD = 3
"""Where more than one class in CROWD has a separate cluster, clusters are a property of the data (scenes, series)."""


class Checked(NamedTuple):
    """Evidence for each class, and what becomes of each image."""

    sign: Tensor
    """(C,) int64: 0 for a class that is not named, else the sum of its signs."""

    separation: Tensor
    """(C,) float: of the class's most separate cluster of its own; natural ones stay below its limit."""

    limit: Tensor
    """(C,) float, see `separation_limits`."""

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
    voters: int = VOTERS,
) -> Checked:
    """Class-level evidence first, image-level decisions after: strict in a class that is named, lenient elsewhere.

    1. Votes (Wang et al. 2022, arXiv 2210.10272) on the final features, divided by class size.
    2. In each class, the split of its early features that is most bimodal and that no other class shares (after SCAn,
       Tang et al. 2019, arXiv 1908.00686). Above ``separate`` the class is named, its cluster flagged.
       A cluster that others share counts if it is far apart in features that are whitened without it, and if its
       images look foreign and those that share it do not (covers of an adaptive attack).
       A cluster of several classes counts if hardly any of its images looks like its label (all-to-all, untargeted).
    3. Votes again, without those images, and those that share their trait, as voters. A class with more images that
       surely look foreign than the others (beyond ``excess`` times their share, and chance) is named; so is one where
       such images share a trait that what they look like does not explain. Flagged is what looks foreign in it, or is
       grouped with such images.
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
        separate: least separation of a trigger's cluster in a large class, see `separation_limits`.
        excess: what a hard class reaches; above it (and above chance), a class is named.
        trait: least gap of images that share a trait.
        smallest: different pictures that make evidence.
        fewest: a class with fewer images gives no evidence of a cluster: few are always far apart in many dimensions.
        lenient: margin above which an image is flagged if no class is named.
        elsewhere: the same for images outside a named class, if one is.
        certain: share of the votes from which an image in the group of a named class is relabeled.
        voters: images that vote, at most, see `content_votes`; what follows looks at all images.

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
    if votes is None:
        votes = content_votes(content, label, k, most=voters)
    prediction, confidence, margin, _ = votes
    white = whiten_within(early, label)
    size = label.bincount()
    classes = len(size)
    sign = torch.zeros(classes, dtype=torch.int64, device=label.device)
    separation = margin.new_zeros(classes)
    posterior = margin.new_zeros(len(label))
    # with fewer images than early features, the whitened ones tell any two groups apart: votes alone
    enough = len(label) >= early.shape[1]
    judged = [c for c in range(classes) if enough and int(size[c]) >= fewest]
    (_, surely), alike = foreign_excess(margin, label), likeness_of_twins(content, label)
    found = dict(zip(judged, trigger_clusters(white, label, judged, margin, content, alike, smallest), strict=True))
    for c in judged:
        separation[c] = found[c].separation
    limit = separation_limits(separation, size, judged, separate)
    for c in judged:
        own = label == c
        side = _foreign_side(found[c].posterior, surely[own], excess)
        if separation[c] >= limit[c] and not _is_the_class(side > 0.5, surely[own], margin[own], excess):
            sign[c] += TRIGGER
            posterior[own] = side.to(margin)
    crowd = max(1, len(torch.unique(label)) // CROWD)
    if int(sign.count_nonzero()) > crowd:
        sign.zero_()
        posterior.zero_()
    rest = [c for c in judged if not sign[c]]
    apart = separate + BEYOND + 9 / size.clamp(min=1).to(separation).sqrt()
    shares = torch.zeros_like(label, dtype=torch.bool)
    covered = {}
    hidden = covered_clusters(white, label, rest, margin, content, apart, alike, smallest)
    for c, there in zip(rest, hidden, strict=True):
        rows = (label == c).nonzero().flatten()
        if there.separation and is_covered(there, rows, content, label, k, votes, voters):
            covered[c] = there
    for c, there in covered.items() if len(covered) <= crowd else ():
        sign[c] += COVERED
        separation[c], limit[c], posterior[label == c] = there.separation, apart[c], there.posterior.to(margin)
        shares |= there.shares
    cluster = posterior > 0.1
    # up to `voters` images all are compared again: rounding, and copies at the same distance, decide as ever
    before = votes if len(label) > voters else None
    if cluster.any():
        prediction, confidence, margin, _ = content_votes(content, label, k, ~(cluster | shares), voters, before)
    among = ~(cluster | shares)
    far = separate - NEARER + 9 / max(1, int(among.sum())) ** 0.5
    spread = spread_cluster(white, label, margin, among, smallest, voters=voters) if enough else None
    if spread is not None and spread.separation >= far:
        group = (spread.posterior > 0.5).nonzero().flatten()
        of_class = label[group].bincount(minlength=classes)
        again = content_votes(content, label, k, among & (spread.posterior <= 0.1), voters, before)
        wrong = float((again.margin[group] > 0).float().mean()) > HARDLY
        if wrong and int(of_class.max()) <= AT_MOST * len(group) and count_scenes(content[group], alike) >= smallest:
            prediction, confidence, margin, _ = again
            posterior = torch.maximum(posterior, spread.posterior)
            cluster = posterior > 0.1
            even = len(group) / int(size.count_nonzero())  # images of each class, if all have as many
            alone = (of_class > even / 2) & (sign == 0)
            sign += SPREAD * (of_class > even / 2)
            separation[alone], limit[alone] = spread.separation, far
    left = (~cluster).nonzero().flatten()
    plain = label[left]
    ratio, surely = foreign_excess(margin[left], plain)
    ratio = torch.cat([ratio, ratio.new_zeros(classes - len(ratio))])
    foreign = [left[surely & (plain == c)] for c in range(classes)]
    count = torch.tensor([count_scenes(content[rows], alike) for rows in foreign], device=sign.device)
    size = plain.bincount(minlength=classes)
    sign += FOREIGN * (is_excess(count, (1 - QUANTILE) * size, excess) & (count >= smallest))
    gap = margin.new_zeros(classes)
    normal = normal_scores(margin[left], plain)
    mean = class_means(white, label, ~cluster & (margin < 0), classes)
    for c in judged:
        rows = left[plain == c]
        if not 2 * smallest <= len(rows) < len(left):
            continue
        value, group = shared_trait(white[rows], margin[rows], normal[plain == c], prediction[rows], mean, c)
        if value < trait or count_scenes(content[rows[group]], alike) >= smallest:
            gap[c] = value
    sign += TRAIT * (gap >= trait)
    score = torch.where(cluster, 1 + posterior, margin)
    named = (sign & (FOREIGN | TRAIT)).nonzero().flatten().tolist()
    flagged = cluster | (margin > (elsewhere if named or cluster.any() else lenient))
    for c in named:
        rows = left[plain == c]
        looks = margin[rows]
        group = foreign_cluster(white[rows], looks, normal[plain == c]).to(score)
        flagged[rows] |= (group > 0.5) | (looks > 0.5) | ((looks > 0) & (group > 0.01))
        score[rows] = torch.maximum(score[rows], group + (looks > 0) * (1 + looks) / 2).clamp(max=2)
    flagged &= label.bincount()[label] > 1  # nothing of its class to be compared with
    relabel = flagged & (score > 1) & (prediction != label) & (confidence >= certain)
    return Checked(sign, separation, limit, ratio, gap, score, flagged, prediction, confidence, relabel)


def separation_limits(separation: Tensor, size: Tensor, judged: Sequence[int], separate: float = 3.8) -> Tensor:
    """The separation above which a class is named: more for few images, and more where other classes have groups too.

    In few images some two groups are always far apart. The largest natural ones: 4.4 in classes of 150 images (GTSRB),
    4.2 in 430 and 3.9 in 1,000 (CIFAR-10, Fashion-MNIST). Some data fall into groups by themselves, such as road signs
    by light: there a class has to stand out against the other classes, against all but a fifth of them, so that two
    targets do not hide one another.

    Args:
        separation: (C,) float, of each class's cluster.
        size: (C,) int64, images of each class.
        judged: classes that have one, or could.
        separate: limit in a large class.

    Returns:
        (C,) float.

    >>> separation, size = torch.tensor([2.0, 3.0, 9.0, 3.0]), torch.tensor([400, 10000, 400, 400])
    >>> [round(limit, 2) for limit in separation_limits(separation, size, range(4)).tolist()]
    [4.25, 3.9, 4.25, 4.25]
    """
    limit = separate + 9 / size.clamp(min=1).to(separation).sqrt()
    for c in judged:
        others = separation[[other for other in judged if other != c]]
        if len(others):
            limit[c] = torch.maximum(limit[c], OUTSTANDING * others.quantile(0.8, interpolation="lower"))
    return limit


def _is_the_class(group: Tensor, surely: Tensor, margin: Tensor, excess: float) -> bool:
    """Whether a group is most of its class, poison and all: more foreign images than usual, but most are not foreign.

    Poison that is most of a class looks foreign if its labels are wrong, and none of it does if they are right.
    """
    most = 2 * int(group.sum()) > len(group)
    return most and _many(surely[group], excess) and float((margin[group] > 0).float().mean()) < 0.5


def _foreign_side(posterior: Tensor, surely: Tensor, excess: float) -> Tensor:
    """The posterior of the images outside a cluster instead, if they are the foreign ones."""
    sides = [surely[posterior > 0.5], surely[posterior <= 0.5]]
    inside, outside = (side.float().mean().nan_to_num() for side in sides)
    return 1 - posterior if outside > inside and _many(sides[1], excess) else posterior


def _many(surely: Tensor, excess: float) -> bool:
    """Whether more of some images surely look foreign than of a hard class's."""
    expected = torch.tensor((1 - QUANTILE) * len(surely), device=surely.device)
    return bool(is_excess(surely.sum(), expected, excess))
