"""Names of folders, files and table values that mean a part of a data set: training, validation or test."""

import re
from collections.abc import Iterable
from typing import Literal

Part = Literal["train", "val", "test"]

_WORDS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "vali", "valid", "validation", "validate", "validating", "holdout"), "val"),
    **dict.fromkeys(("dev", "development", "eval", "evaluation", "evaluate"), "val"),
    **dict.fromkeys(("test", "tests", "testing", "tst"), "test"),
}
_FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "datasets", "image", "images", "img", "imgs", "picture", "pictures"),
        *("photo", "photos", "folder", "dir", "split", "part", "subset", "file", "files", "all", "raw", "x", "full"),
        *("final", "label", "labels", "metadata", "annotations"),
    )
)
_ENDINGS = ("set", "data", "images", "imgs", "split", "folder", "dir", "labels")


def part_of(name: str) -> tuple[Part, str] | None:
    """Which part a name means, and the words of it that are neither that nor a filler such as ``set`` or ``images``.

    A name whose rest is not empty means a part only beside another one with the same rest (`parts_among`): there may
    be a class ``train_station``, but ``seg_train`` beside ``seg_test`` is a training part.

    >>> part_of("Test_set"), part_of("imgs-TRAIN2017"), part_of("seg_train"), part_of("cat")
    (('test', ''), ('train', ''), ('train', 'seg'), None)
    """
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = [_without_ending(word.lower()) for word in re.findall(r"[^\W\d_]+|\d+", spaced)]
    found = [_WORDS[word] for word in words if word in _WORDS]
    if not found or (len(set(found)) > 1 and set(found) != {"train", "val"}):
        return None
    rest = [word for word in words if word not in _WORDS and word not in _FILLERS and not word.isdecimal()]
    return "train" if "train" in found else found[0], " ".join(rest)


def parts_among(names: Iterable[str]) -> dict[str, Part]:
    """The names that mean a part, given all that stand beside each other.

    >>> parts_among(["Training", "Testing", "notes"])
    {'Training': 'train', 'Testing': 'test'}
    >>> parts_among(["seg_train", "seg_test", "bus_station", "train_station"])
    {'seg_train': 'train', 'seg_test': 'test'}
    """
    known = {name: found for name in names if (found := part_of(name)) is not None}
    by_rest: dict[str, set[Part]] = {}
    for part, rest in known.values():
        by_rest.setdefault(rest, set()).add(part)
    return {name: part for name, (part, rest) in known.items() if not rest or len(by_rest[rest]) > 1}


def _without_ending(word: str) -> str:
    """``trainset`` and ``testimages`` as ``train`` and ``test``."""
    for ending in _ENDINGS:
        if word.endswith(ending) and word.removesuffix(ending) in _WORDS:
            return word.removesuffix(ending)
    return word
