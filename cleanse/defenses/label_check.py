"""Check labels on a frozen encoder's features: which class holds a trigger, and which images; nothing is trained."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from cleanse.defenses.base import Defense, Outcome
from cleanse.encoders import EfficientNetLite, FrozenEncoder
from cleanse.engine.plan import Planned
from cleanse.engine.runner import Runner
from cleanse.functional import Checked, check_labels, content_votes, expected_flags, first_of_each
from cleanse.functional.check_labels import COVERED, FOREIGN, SPREAD, TRAIT, TRIGGER
from cleanse.functional.content_votes import VOTERS
from cleanse.functional.expected_flags import ExpectedFlags
from cleanse.verdict import UNUSABLE, Verdict
from cleanse.views import TrainingView

log = logging.getLogger("cleanse")

FALSELY_NAMED = 130
"""Of so many clean classes one is named, whatever their number (docs/results.md)."""
MANY = 40
"""From so many classes on, a name in a clean set is likely enough to be said."""
NAMES = 10
"""So many classes are named in one sentence."""
KNOWS = 1 / 3
"""An encoder knows classes if so much of the way from chance to certainty, or more, of the images look like their
label. A convention."""


class LabelCheck(Defense):
    """Votes, and clusters that no other class has, in the features of a frozen encoder (ours; see docs/decisions.md).

    The encoder was trained on other images, so it has not learned the trigger. Whether an image looks like its label
    is asked of its neighbors (as in Wang et al. 2022, arXiv 2210.10272). A trigger that fills the image makes the
    poison a cluster of its own, which neighbors do not notice; it is found as the one direction in which a class falls
    into two groups and no other class does (after SCAn, Tang et al. 2019, arXiv 1908.00686). Where other classes have
    the trigger under right labels (covers), it is found by what sets the group apart from these: it looks like other
    classes, they look like their own. A trigger that moves images of all classes to wrong ones is the one direction in
    which those that surely look foreign differ from all others. A class is named first; the rule is strict in a class
    that is named and lenient elsewhere. See `cleanse.functional.check_labels`.

    Args:
        encoder: a frozen encoder with early features, such as `cleanse.encoders.EfficientNetLite` or `Timm`; None for
            the first, which needs no download.
        k: neighbors.
        separate: least separation of a trigger's cluster in a large class; a small one needs more.
        excess: a class is named when its images look foreign more than so many times as often as those of the others,
            and chance does not explain it.
        trait: a class is named when the images that share a trait look so much more foreign than the rest.
        smallest: different pictures that make evidence.
        fewest: a class with fewer images gives no evidence of a cluster.
        lenient: margin of the votes above which an image is flagged if no class is named.
        elsewhere: the same for images outside a named class, if one is.
        certain: share of the votes from which an image in the suspicious group of a named class is relabeled.
        voters: images that vote, at most; of more, that many are drawn in each class's share, so that time grows with
            the number of images and not with its square.
        **kwargs: the final training, see `Defense`; `cleanse check` leaves it out.

    Raises:
        ValueError: an argument out of range; while it runs, fewer than two classes with images, or an encoder without
            early features.
    """

    def __init__(
        self,
        encoder: FrozenEncoder | None = None,
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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, number in (("k", k), ("smallest", smallest), ("fewest", fewest), ("voters", voters)):
            if number < 1:
                raise ValueError(f"{name} is a number of images, at least 1, not {number}")
        for name, share in (("lenient", lenient), ("elsewhere", elsewhere), ("certain", certain)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is a share of the votes, between 0 and 1, not {share}")
        self._encoder: tuple[FrozenEncoder | None] = (
            encoder,
        )  # in a tuple: its weights are no part of the recipe's checkpoint
        self.k = k
        self.separate = separate
        self.excess = excess
        self.trait = trait
        self.smallest = smallest
        self.fewest = fewest
        self.lenient = lenient
        self.elsewhere = elsewhere
        self.certain = certain
        self.voters = voters

    @property
    def title(self) -> str:
        return "Check"

    def plan_verdict(self, train: TrainingView) -> list[Planned]:
        return [self.encoder.plan(train)]

    @property
    def encoder(self) -> FrozenEncoder:
        """The encoder, made when it is first asked for."""
        (encoder,) = self._encoder
        if encoder is None:
            encoder = EfficientNetLite()
            self._encoder = (encoder,)
        return encoder

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        table = self.encoder.table(train, run)  # one pass, cached
        given = train.labeled
        first = first_of_each(train.duplicate_group[given], train.label[given])  # copies have one vote
        content, early = table.features[given][first.rows].float(), table.early[given][first.rows].float()
        label = train.label[given][first.rows]
        early = self.encoder.for_images(early)
        present = torch.unique(label)
        if len(present) < 2:
            raise ValueError("images are compared with those of other classes: at least two classes must have images")

        votes = content_votes(content, label, self.k, most=self.voters)
        before = expected_flags(votes.margin, label, self.lenient, self.elsewhere)
        log.info(
            "of the clean images, about %.1f %% will be flagged if no class looks attacked, about %.1f %% if one does "
            "(each image judged by the votes of others)", 100 * before.unnamed, 100 * before.named,
        )  # fmt: skip
        checked = check_labels(
            content, early, label, votes, k=self.k, separate=self.separate, excess=self.excess, trait=self.trait,
            smallest=self.smallest, fewest=self.fewest, lenient=self.lenient, elsewhere=self.elsewhere,
            certain=self.certain, voters=self.voters,
        )  # fmt: skip
        alone, together = checked.sign & ~SPREAD, bool((checked.sign & SPREAD).any())
        clean = (checked.sign[label] & SPREAD == 0) | (checked.score <= 1)  # elsewhere the whole class is left out
        limit = self.elsewhere if together else self.lenient
        expected = expected_flags(votes.margin[clean], label[clean], limit, self.elsewhere, alone)
        verdict = self.verdict(train, given, checked.of_images(first.back))
        notes = [
            *(evidence(checked, train.classes) or ["No class looks attacked to this check."]),
            *unsure(votes.prediction == label, len(present)),
            *not_looked_for(label, early.shape[1], self.fewest),
            error_rate(expected, bool(alone.any()), together),
        ]
        if len(label) > self.voters:
            notes.insert(-1, f"About {self.voters:,} of {len(label):,} images, drawn in each class, have a vote.")
        return Outcome(verdict, partial(self.classify, train.with_verdict(verdict), run), notes)

    def verdict(self, train: TrainingView, given: Tensor, checked: Checked) -> Verdict:
        """Flagged images are relabeled where the votes are sure, and dropped otherwise."""
        label = train.label[given]
        relabel = checked.relabel
        if float(checked.flagged.float().mean()) > UNUSABLE:  # the encoder does not know these classes
            relabel = torch.zeros_like(relabel)
        new_label = torch.where(relabel, checked.prediction, label).masked_fill(checked.flagged & ~relabel, -1)
        reasons = [
            reason(flagged, score, train.classes[looks] if looks != own else None)
            for flagged, score, looks, own in zip(
                checked.flagged.tolist(), checked.score.tolist(), checked.prediction.tolist(), label.tolist(),
                strict=True,
            )
        ]  # fmt: skip
        return Verdict.of_labeled(train.id, train.label, given, new_label, checked.score, reasons)


def evidence(checked: Checked, classes: Sequence[str]) -> list[str]:
    """A sentence for each class that is named: which, by which sign, how strong."""
    found = []
    for c in (checked.sign & ~SPREAD).nonzero().flatten().tolist():
        signs = []
        if int(checked.sign[c]) & TRIGGER:
            signs.append(
                f"a group of its images shares something that no other class has (separation "
                f"{float(checked.separation[c]):.1f}; the limit is {float(checked.limit[c]):.1f})"
            )
        if int(checked.sign[c]) & FOREIGN:
            signs.append(
                f"its images look like other classes {float(checked.ratio[c]):.0f} times as often as those of others"
            )
        if int(checked.sign[c]) & TRAIT:
            signs.append("images of it that look like other classes share something that those do not have")
        if int(checked.sign[c]) & COVERED:
            signs.append(
                f"a group of its images looks like other classes and shares something with images that look like their "
                f"own class, as covers do (separation {float(checked.separation[c]):.1f}; the limit is "
                f"{float(checked.limit[c]):.1f})"
            )
        found.append(f"Class {classes[c]!r} looks attacked: {' and '.join(signs)}.")
    if len(found) > 1:
        found.append(
            f"{len(found)} classes at once: an attack seldom has more than one target, and images that come in "
            "series, or in two kinds, make such groups by themselves. Compare the pictures before you believe this."
        )
    if found and len(classes) >= MANY:
        found.append(
            f"Without any attack about one class of {FALSELY_NAMED} was named in what was measured, because a part of "
            f"it was another picture: of {len(classes)} classes, take a name as a class to look at."
        )
    return of_several_classes(checked, classes) + found


def of_several_classes(checked: Checked, classes: Sequence[str]) -> list[str]:
    """A sentence if images of several classes share a trigger, each under a wrong label."""
    spread = (checked.sign & SPREAD).nonzero().flatten().tolist()
    if not spread:
        return []
    alone = [c for c in spread if int(checked.sign[c]) == SPREAD]
    apart = (
        f" (separation {float(checked.separation[alone[0]]):.1f}; the limit is {float(checked.limit[alone[0]]):.1f})"
        if alone
        else ""
    )
    names = ", ".join(repr(classes[c]) for c in spread[:NAMES]) + (", ..." if len(spread) > NAMES else "")
    return [
        f"Images of {len(spread)} classes ({names}) look attacked together: they share something, and hardly any looks "
        f"like its label, as where an attack moves each class to another one{apart}."
    ]


def unsure(agrees: Tensor, classes: int) -> list[str]:
    """A sentence where most images do not look like their label: then a verdict says little.

    Args:
        agrees: (n,) bool, whether the neighbors of an image have its label.
        classes: with images.

    >>> unsure(torch.tensor([True, False, False, False]), 4)[0].split(":")[0]
    'Only 25% of the images look like their class to this encoder, which chance alone would make 25%'
    >>> unsure(torch.tensor([True, True, True, False]), 4)
    []
    """
    share, chance = float(agrees.float().mean()), 1 / classes
    if share >= chance + KNOWS * (1 - chance):
        return []
    return [
        f"Only {share:.0%} of the images look like their class to this encoder, which chance alone would make "
        f"{chance:.0%}: it does not know these classes, or most labels are wrong. This verdict says little, and that "
        "no class looks attacked nothing: try another encoder (--model.encoder)."
    ]


def not_looked_for(label: Tensor, features: int, fewest: int) -> list[str]:
    """A sentence where classes are too small, or all images too few, to look for a trigger's group in them.

    Args:
        label: (n,) int64.
        features: early ones of an image; with fewer images, any two groups are far apart.
        fewest: images of a class that is looked into.

    >>> not_looked_for(torch.arange(300) % 2, 200, 100)
    []
    >>> not_looked_for(torch.tensor([0] * 150 + [1] * 50), 200, 100)[0].split(":")[0]
    'In 1 of 2 classes no group was looked for'
    """
    size = label.bincount()
    size = size[size > 0]
    small = int((size < fewest).sum()) if len(label) >= features else len(size)
    if not small:
        return []
    return [
        f"In {small} of {len(size)} classes no group was looked for: that takes {fewest} images in the class and "
        f"{features} in all. A trigger that fills the image (Blend, SIG) or keeps the label goes unseen there."
    ]


def error_rate(expected: ExpectedFlags, named: bool, together: bool = False) -> str:
    """A sentence that says how many clean images are flagged; the rule is another one where a class is named.

    Args:
        expected: of the clean images, with the limit that counts where no class is named alone.
        named: whether one is.
        together: whether several are, by images that share a trigger.
    """
    if named:
        case = f"{expected.named:.1%} are flagged, up to {expected.inside:.0%} of those in a named class"
    else:
        case = f"{expected.unnamed:.1%} are flagged" + ("" if together else ", as no class is named")
    return f"Of the clean images, about {case} (an estimate from the votes of neighbors alone)."


def reason(flagged: bool, score: float, looks_like: str | None) -> str:
    """Why an image is flagged, in a few words."""
    if not flagged:
        return ""
    if score > 1:
        other = "" if looks_like is None else f", looks like {looks_like!r}"
        return f"in a suspicious group of its class{other}"
    return "does not look like its class" if looks_like is None else f"looks like {looks_like!r}"
