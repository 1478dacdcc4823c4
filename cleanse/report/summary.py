"""What a verdict says, in words: how many images, which class looks like a target, and how sure that is."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cleanse.verdict import ACTIONS, LOST, UNUSABLE, Verdict

STANDS_OUT = 5.0
"""Robust standard deviations above the median class. A convention, set before any verdict was looked at."""
MOST_FLAGGED = 0.25
"""A larger share of flagged images is doubted. A convention: poison that frequent would be no backdoor any more."""
LARGER = 1.25
"""A class whose size stands out has at least so many times the images of the median class. A convention."""
LISTED = 20
"""Classes that get a line of their own at most."""
NAMED = 5
"""Classes that one kind of sentence is about at most."""
FEWEST_CLASSES = 4
"""Fewer classes have no spread to speak of."""
MOST_NAMED = 10
"""Names in one sentence."""
FEWEST_LABELED = 5
"""A class with fewer images has no share worth a comparison."""


def flagged_shares(verdict: Verdict, num_classes: int) -> tuple[Tensor, Tensor]:
    """The share of each class's images that are not kept, by the label as given.

    Images without a label count nowhere.

    Args:
        verdict: of n images.
        num_classes: C, more than every label.

    Returns:
        (C,) float64 shares, 0 where a class is empty; (C,) int64 images of each class.

    >>> label, keep = torch.tensor([0, 0, 1, 1]), torch.tensor([True, False, True, True])
    >>> flagged_shares(Verdict.keep_mask("abcd", label, keep), 2)[0].tolist()
    [0.5, 0.0]
    """
    given = verdict.label >= 0
    total = verdict.label[given].bincount(minlength=num_classes)
    flagged = verdict.label[given & ~verdict.kept].bincount(minlength=num_classes)
    return flagged.double() / total.clamp(min=1), total


def standing_out(share: Tensor, total: Tensor) -> Tensor:
    """How far each class's share lies above the median class, in robust standard deviations.

    The spread is 1.4826 times the median absolute deviation, but never less than the binomial standard deviation of a
    class of this size at the median share (at least one image), so that near-equal shares raise no alarm.

    Args:
        share: (C,) float, of flagged images.
        total: (C,) int64, images of each class.

    Returns:
        (C,) float64; 0 for classes below ``FEWEST_LABELED``, and everywhere if fewer than ``FEWEST_CLASSES`` remain.

    >>> share, total = torch.tensor([0.02, 0.03, 0.04, 0.03, 0.30]), torch.full((5,), 100)
    >>> [round(z, 1) for z in standing_out(share, total).tolist()]
    [-0.6, 0.0, 0.6, 0.0, 15.8]
    """
    share, enough = share.double(), total >= FEWEST_LABELED
    if int(enough.sum()) < FEWEST_CLASSES:
        return torch.zeros_like(share)
    middle = share[enough].quantile(0.5)
    spread = 1.4826 * (share[enough] - middle).abs().quantile(0.5)
    rate = torch.maximum(middle, 1 / total.clamp(min=1))
    chance = (rate * (1 - rate).clamp(min=0) / total.clamp(min=1)).sqrt()
    z = (share - middle) / torch.maximum(spread, chance).clamp(min=1e-9)
    return torch.where(enough, z, 0.0)


def flagged_rate(verdict: Verdict) -> float:
    """The share of all images with a label that are not kept; 0 without any. Unreadable files say nothing.

    >>> label, keep = torch.tensor([0, 0, 1, -1]), torch.tensor([True, False, True, False])
    >>> round(flagged_rate(Verdict.keep_mask("abcd", label, keep)), 3)
    0.333
    """
    readable = torch.tensor([not why.startswith("unreadable: ") for why in verdict.reason], dtype=torch.bool)
    given = (verdict.label >= 0) & readable
    return int((given & ~verdict.kept).sum()) / max(1, int(given.sum()))


def cannot_be_used(verdict: Verdict) -> str:
    """Why a verdict cannot be used and what to do instead; empty where it can.

    >>> label = torch.tensor([0, 0, 1, 1])
    >>> cannot_be_used(Verdict.keep_mask("abcd", label, torch.tensor([True, False, False, False]))).split(":")[0]
    'THIS VERDICT CANNOT BE USED'
    """
    rate = flagged_rate(verdict)
    if rate <= UNUSABLE:
        return ""
    return (
        f"THIS VERDICT CANNOT BE USED: it flags {rate:.1%} of the images, so it says more of the recipe than of the "
        "data. What takes minutes and no training: cleanse check FOLDER; where this was a check, another encoder, one "
        "that knows such images (--model.encoder), or your own features of them in cleanse.verdict_from_embedding. Or "
        "look at the images with the highest scores, which may still be the right ones: cleanse export RUN --out DIR "
        "--short-list 100."
    )


def summarize(
    verdict: Verdict,
    classes: Sequence[str],
    unreadable: int = 0,
    baseline: Verdict | None = None,
    pattern: str = "",
    notes: Sequence[str] = (),
) -> str:
    """A verdict in words, for a person who knows nothing about their data.

    Class names are untrusted: they appear as Python literals, so none can steer a terminal. However many classes there
    are, the lines fit on a screen or two.

    Args:
        verdict: one row per image that was judged; files that could not be read say nothing about their class.
        classes: C class names.
        unreadable: how many such files there are.
        baseline: the verdict of the same recipe on the kept images alone; None if nobody asked for it.
        pattern: a sentence about what the suspicious images of a class share; empty for none.
        notes: the recipe's own sentences about its evidence and its errors; they come first.

    Returns:
        Lines of printable text, the last without a line end.

    Raises:
        ValueError: fewer names than classes.

    >>> print(summarize(Verdict.keep_all("ab", torch.tensor([0, 1])), ["cat", "dog"]).splitlines()[0])
    Of 2 images, 2 are kept, 0 relabeled and 0 dropped.
    """
    most = max(verdict.label.tolist() + verdict.new_label.tolist(), default=-1)
    if most >= len(classes):
        raise ValueError(f"classes has {len(classes)} names, but the verdict speaks of class {most}")
    names, n = [repr(name) for name in classes], verdict.counts()
    share, total = flagged_shares(verdict, len(classes))
    lines = [
        cannot_be_used(verdict),
        *notes,
        f"Of {len(verdict)} images, {n['kept']} are kept, {n['relabeled']} relabeled and {n['dropped']} dropped.",
        *_by_class(verdict, names, share),
        f"  without a label: {int((verdict.label < 0).sum())}" if (verdict.label < 0).any() else "",
        "Besides, 1 file could not be read, and is left out." if unreadable == 1 else "",
        f"Besides, {unreadable} files could not be read, and are left out." if unreadable > 1 else "",
        *_targets(verdict, names, share, total),
        *_sizes(names, total),
        *_left(verdict, names),
        pattern,
        *_lost(verdict, names),
        *_doubt(verdict),
        *([] if notes and baseline is None else _sureness(baseline, len(classes))),
    ]
    return "\n".join(line for line in lines if line)


def _by_class(verdict: Verdict, names: Sequence[str], share: Tensor) -> list[str]:
    """A line for each class, or for those with the largest shares where there are many."""
    counts = torch.zeros(len(names), len(ACTIONS), dtype=torch.int64)
    given = verdict.label >= 0
    counts.index_put_((verdict.label[given], verdict.action[given].long()), torch.tensor(1), accumulate=True)
    shown = range(len(names)) if len(names) <= LISTED else share.argsort(descending=True, stable=True)[:LISTED].tolist()
    lines = []
    for c in shown:
        kept, moved, dropped = counts[c].tolist()
        lines.append(f"  class {names[c]}: {kept} kept, {moved} relabeled, {dropped} dropped ({share[c]:.1%} flagged)")
    if len(names) > LISTED:
        rest = len(names) - LISTED
        lines.append(f"  ... and {rest} more classes with smaller shares: the report and verdict.csv have all")
    return lines


def _targets(verdict: Verdict, names: Sequence[str], share: Tensor, total: Tensor) -> list[str]:
    """The sentences about classes that stand out, and how sure they are."""
    comparable = total >= FEWEST_LABELED
    if int(comparable.sum()) < FEWEST_CLASSES:
        return [
            f"Whether a class has more flagged images than is usual is not known: that takes {FEWEST_CLASSES} "
            f"classes of at least {FEWEST_LABELED} images."
        ]
    if not bool(share.any()):
        return ["No image is flagged, so nothing points at a class; that is no sign that there is no attack."]
    relabeled = verdict.label[verdict.relabeled & (verdict.label >= 0)].bincount(minlength=len(share))
    certain = relabeled.double() / total.clamp(min=1)  # much that is dropped may hide a little that is relabeled
    kinds = (standing_out(share, total), share, "flagged"), (standing_out(certain, total), certain, "relabeled")
    found = (torch.maximum(kinds[0][0], kinds[1][0]) >= STANDS_OUT).nonzero().flatten().tolist()
    lines = []
    found.sort(key=lambda c: -max(float(z[c]) for z, _, _ in kinds))
    for c in found[:NAMED]:
        _, of, what = kinds[0] if kinds[0][0][c] >= STANDS_OUT else kinds[1]
        others = of[comparable & (torch.arange(len(of)) != c)]
        sentence = (
            f"Class {names[c]} stands out: {of[c]:.1%} of its images are {what}, "
            f"the other classes {others.min():.1%} to {others.max():.1%}"
        )
        moved = verdict.new_label[verdict.relabeled & (verdict.label == c)]
        if len(moved):
            count = moved.bincount()
            sentence += (
                f"; of its {len(moved)} relabeled ones, {int(count.max())} look like {names[int(count.argmax())]}"
            )
        lines.append(sentence + ".")
    if len(found) > NAMED:
        lines.append(f"{len(found) - NAMED} more classes stand out less: verdict.csv has every class.")
    if not found:
        highest = int(torch.where(comparable, share, -1.0).argmax())
        lines.append(
            f"No class stands out: {share[comparable].min():.1%} to {share[comparable].max():.1%} of a class's images "
            f"are flagged, the largest share in {names[highest]}. That is no sign that there is no attack: look at "
            "these."
        )
    lines.append(
        "This compares the classes of this run only: a hard or badly labeled class can stand out too, and an attack "
        "spread over many classes does not."
    )
    return lines


def _sizes(names: Sequence[str], total: Tensor) -> list[str]:
    """A sentence about classes with many more images than the others: poison adds to its target class."""
    enough = total >= FEWEST_LABELED
    if int(enough.sum()) < FEWEST_CLASSES:
        return []
    size = total.double()
    middle = size[enough].quantile(0.5)
    spread = 1.4826 * (size[enough] - middle).abs().quantile(0.5)
    large = ((size - middle) / torch.maximum(spread, middle.sqrt()) >= STANDS_OUT) & (size >= LARGER * middle)
    found = large.nonzero().flatten().tolist()
    others = total[enough & ~large]
    if not found or not len(others):
        return []
    found.sort(key=lambda c: -int(total[c]))
    named = ", ".join(f"{names[c]} {int(total[c])}" for c in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    least, most = int(others.min()), int(others.max())
    few = f"{least} each" if least == most else f"{least} to {most}"
    return [
        f"The size of a class stands out: {named}{more}, the other classes have {few}. "
        "Poison adds images to its target class, but so may whoever collected them."
    ]


def _left(verdict: Verdict, names: Sequence[str]) -> list[str]:
    """A sentence about the class that most relabels leave: they are the images that a recipe is surest of."""
    moved = verdict.relabeled & (verdict.label >= 0)
    if int(moved.sum()) < FEWEST_LABELED:
        return []
    count = verdict.label[moved].bincount(minlength=len(names))
    c, every = int(count.argmax()), int(moved.sum())
    if 2 * int(count[c]) <= every:
        return []
    return [f"Of the {every} relabeled images, {int(count[c])} leave class {names[c]}: look at these first."]


def _lost(verdict: Verdict, names: Sequence[str]) -> list[str]:
    """Sentences about classes that had images and have none, or next to none, to be trained on."""
    lost, total, left = verdict.lost_classes(len(names))
    kinds = {
        "lost, as no image is left to learn them from": lost & (left == 0),
        f"nearly lost, as a single image, or no more than a {LOST}th of theirs, is left": lost & (left > 0),
    }
    lines = []
    for what, those in kinds.items():
        found = [f"{names[c]} ({left[c]} of {total[c]})" for c in those.nonzero().flatten().tolist()]
        if found:
            more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
            lines.append(f"Classes that are {what}: {', '.join(found[:MOST_NAMED])}{more}.")
    return lines


def _doubt(verdict: Verdict) -> list[str]:
    """A warning where so much is flagged that it says more of the recipe than of the data."""
    if not MOST_FLAGGED < flagged_rate(verdict) <= UNUSABLE:
        return []
    return [
        f"With {flagged_rate(verdict):.1%} of the images flagged, the recipe may not tell these classes apart: an "
        "encoder trained too briefly or too small, or classes that look alike. Look at the images before you trust it."
    ]


def _sureness(baseline: Verdict | None, num_classes: int) -> list[str]:
    """The sentences about what the recipe flags where there is no attack, as far as one can know."""
    if baseline is None:
        return ["What the recipe flags on these data without an attack was not measured (--baseline true does)."]
    share, total = flagged_shares(baseline, num_classes)
    shown = share[total >= FEWEST_LABELED]
    by_class = f" ({shown.min():.1%} to {shown.max():.1%} of a class)" if len(shown) else ""
    return [
        f"On the kept images alone, the same recipe flags {flagged_rate(baseline):.1%}{by_class}: flags at this rate "
        "are its own, not an attack's. The rate on clean data is rather higher, as the images that it finds hard are "
        "not among the kept ones."
    ]
