"""What is odd about images: copies, labels that contradict each other, and pictures that show nothing."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import get_args

import torch
from torch import Tensor

from cleanse.data.decode import Background

MANY_COPIES = 5
"""Copies of an image within a class that are worth a warning: they outvote every other neighbor of each other (D24)."""
FLAT = 2
"""Levels of 255 between the darkest and the brightest value of an image that shows nothing (D23)."""
DARK = 25
"""Level of 255 that no value of a nearly black image exceeds (D23)."""


def conflicting_labels(group: Tensor, label: Tensor) -> list[list[int]]:
    """Groups of equal images that do not all have the same label: at least one of each group's labels is wrong.

    Args:
        group: (N,) int64, equal where the images are (`cleanse.views.ImageView.duplicate_group`).
        label: (N,) int64; -1 where it is withheld, which contradicts nothing.

    Returns:
        Row numbers of each group, in order; groups by their first row.

    >>> conflicting_labels(torch.tensor([0, 1, 0, 1, 4]), torch.tensor([0, 1, 1, 1, 0]))
    [[0, 2]]
    """
    labels = label.tolist()
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for row, first in enumerate(group.tolist()):
        if labels[row] >= 0:
            groups[first].append(row)
    return [rows for rows in groups.values() if len({labels[row] for row in rows}) > 1]


def label_warnings(label: Tensor, classes: Sequence[str]) -> list[str]:
    """Classes that no training image has, those with a single one, and names that look alike."""
    counts, found = torch.bincount(label[label >= 0], minlength=len(classes)).tolist(), []
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in classes:
        alike[_looks(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            found.append(  # as ASCII, which shows where they differ
                f"the classes {', '.join(map(ascii, names))} differ in case, spaces, hyphens or invisible signs only"
            )
    for text, few in (("no training image has", 0), ("a single training image has, too few to judge it by,", 1)):
        named = [repr(name) for name, count in zip(classes, counts, strict=True) if count == few]
        if named:
            found.append(f"{text} the label {', '.join(named[:10])}{_more(len(named), 10)}")
    return found


def _looks(name: str) -> str:
    """What is left of a name without case, spaces and what one does not see; of signs alone, the name itself."""
    shown = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) not in ("Cf", "Cc"))
    return re.sub(r"[\s_-]+", " ", shown).strip().casefold() or name


def copy_warnings(group: Tensor, label: Tensor, id: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The same image under different labels, and many copies of an image within a class."""
    found, labels = [], label.tolist()
    conflicts = conflicting_labels(group, label)
    for rows in conflicts[:5]:
        twins = ", ".join(f"{id[i]!r} as {classes[labels[i]]!r}" for i in rows[:5])
        found.append(f"the same image under different labels: {twins}{', ...' if len(rows) > 5 else ''}")
    if conflicts:
        total = sum(map(len, conflicts))
        found.append(f"different labels for the same image: {len(conflicts)} images, which occur {total} times in all")
    copies = Counter(zip(group.tolist(), label.tolist(), strict=True))
    many = [(count, first, c) for (first, c), count in copies.most_common() if count >= MANY_COPIES and c >= 0]
    for count, first, c in many[:5]:
        found.append(f"{count} copies of {id[first]!r} have the label {classes[c]!r}: they count once in a vote")
    if len(many) > 5:
        found.append(f"{len(many) - 5} more images have {MANY_COPIES} or more copies within a class")
    return found


def overlap_warnings(train: Sequence[bytes], test: Sequence[bytes], id: Sequence[str]) -> list[str]:
    """Test images that are training images too.

    Args:
        train: hashes of the training images.
        test: hashes of the test images.
        id: of the test images.
    """
    known = set(train)
    twice = [name for name, found in zip(id, test, strict=True) if found in known]
    if not twice:
        return []
    return [
        f"{len(twice)} of {len(test)} test images are training images too, such as {twice[0]!r}: what is measured on"
        " them says little about new images"
    ]


def pixel_warnings(
    image: Tensor,
    hashes: Sequence[bytes],
    id: Sequence[str],
    transparent: Iterable[int] = (),
    background: Background = "black",
) -> list[str]:
    """Images that show nothing, or next to nothing.

    Args:
        image: (N, C, H, W) uint8; may lie in a file that is larger than the memory.
        hashes: of each image's pixels.
        id: of each.
        transparent: rows that have transparent pixels in their files.
        background: what shows through them.
    """
    flat, dark = torch.zeros(len(image), dtype=torch.bool), torch.zeros(len(image), dtype=torch.bool)
    part = max(1, 2**26 // max(1, image[:1].numel()))
    for start in range(0, len(image), part):
        some = image[start : start + part].flatten(2)
        low, high = some.amin(2).int(), some.amax(2).int()
        flat[start : start + part] = (high - low <= FLAT).all(1)
        dark[start : start + part] = (high <= DARK).all(1)
    found = []
    for mask, what in ((flat, "have a single color"), (dark & ~flat, "are nearly black")):
        if odd := mask.nonzero().flatten().tolist():
            names = ", ".join(repr(id[i]) for i in odd[:3])
            found.append(f"{len(odd)} of {len(image)} images {what}: {names}{', ...' if len(odd) > 3 else ''}")
    rows = list(transparent)
    equal, nothing = len(rows) - len({hashes[row] for row in rows}), sum(bool(flat[row]) for row in rows)
    if equal or nothing:
        other = " or ".join(name for name in get_args(Background) if name != background)
        found.append(
            f"on a {background} background, {nothing} of the {len(rows)} images with transparent pixels show nothing, "
            f"and {equal} are equal to another one: where the files are not, set --data.background {other}"
        )
    return found


def _more(count: int, shown: int) -> str:
    return f" and {count - shown} more" if count > shown else ""
