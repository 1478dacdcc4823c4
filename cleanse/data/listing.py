"""Which files of a user's folder are training and test images, found without opening any."""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cleanse.data.folder_reader import ARCHIVES, TABLES, FolderReader, ImageFile
from cleanse.data.split_names import Part, part_of, parts_among
from cleanse.utils.not_a_folder import not_a_folder

LAYOUT = "root/train/<class>/... and root/test/<class>/..., or root/<class>/..."


@dataclass(frozen=True)
class Layout:
    """How a folder is to be read; the arguments of the same names of `cleanse.data.ImageFolder`."""

    train_folder: str | None = None
    test_folder: str | None = "auto"
    holdout: float | None = None
    only: int | Sequence[str] | None = None
    class_seed: int = 0
    follow_links: bool = False
    nested: bool = False
    fewest_classes: int = 2


@dataclass(frozen=True)
class Listing:
    """What was found in a folder.

    Attributes:
        classes: names in label order.
        train: files by class and name.
        test: the same; none without a test part.
        test_part: what the test part is, in words; empty without one.
        left_out: files and folders that are not read, each with the reason.
    """

    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]
    test_part: str = ""
    left_out: tuple[tuple[str, str], ...] = ()


def list_images(root: str, layout: Layout | None = None) -> Listing:
    """The images below ``root``, one folder a class.

    Raises:
        ValueError: a missing folder, another layout, fewer than two classes, or a test class that is not trained on.
    """
    check_folder(root)
    layout = layout or Layout()
    reader = FolderReader(root, layout.follow_links)
    top = reader.folders(root, refuse_links=True)
    parts = _parts(reader, top, layout)
    if parts is None:
        train, test, test_part = _by_class(reader, top, layout)
    else:
        train, test, test_part = _by_part(reader, top, *parts, layout.nested)
    if loose := reader.files(root):
        names = ", ".join(map(repr, loose[:3])) + (", ..." if len(loose) > 3 else "")
        reader.left_out[f"{len(loose)} images right in the root"] = f"in no class folder: {names}"
    for archive in reader.files(root, ARCHIVES):
        reader.leave_out(os.path.join(root, archive), "not unpacked")
    for table in reader.files(root, TABLES):
        reader.leave_out(os.path.join(root, table), "a table; the folders give the labels, unless labels names it")
    return _listing(reader, layout, train, test, test_part)


def check_folder(root: str) -> None:
    """Raises: ValueError if there is no such folder."""
    if why := not_a_folder(root):
        raise ValueError(f"data.root: {why}")


def chosen_classes(classes: Sequence[str], only: int | Sequence[str] | None, seed: int) -> list[str]:
    """Some of the classes, in their order; drawn ones have the lowest hashes, so that another class moves few of them.

    Raises:
        ValueError: fewer than two, more than there are, or a name that is not there.

    >>> chosen_classes(["ant", "bee", "cat"], ["cat", "ant"], seed=0)
    ['ant', 'cat']
    """
    if only is None:
        return list(classes)
    if isinstance(only, int):
        if not 2 <= only <= len(classes):
            raise ValueError(f"only: {only} classes cannot be drawn of {len(classes)}: at least 2, at most all")
        by_hash = sorted(classes, key=lambda name: hashlib.sha256(os.fsencode(f"{seed}/{name}")).digest())
        chosen = set(by_hash[:only])
    else:
        chosen = set(only)
        if missing := sorted(chosen - set(classes)):
            raise ValueError(f"only: there is no class {', '.join(map(repr, missing))}: name folders that are there")
        if len(chosen) < 2:
            raise ValueError(f"only: {len(chosen)} class, and at least two are needed")
    return [name for name in classes if name in chosen]


def held_out(ids: Sequence[str], fraction: float) -> list[str]:
    """The names with the lowest hashes, ``fraction`` of them rounded; of two and more at least one and never all.

    >>> held_out(["a.png", "b.png", "c.png", "d.png", "e.png"], 0.4)
    ['b.png', 'c.png']
    """
    count = min(len(ids) - 1, max(1, round(fraction * len(ids))))
    by_hash = sorted(ids, key=lambda id: hashlib.sha256(id.encode("utf-8", "surrogateescape")).digest())
    return sorted(by_hash[:count])


def split_off(
    train: Sequence[ImageFile], test: Sequence[ImageFile], test_part: str, holdout: float | None, root: str
) -> tuple[tuple[ImageFile, ...], tuple[ImageFile, ...], str]:
    """Hold a part of each class out if that was asked for.

    Args:
        train: training files, those of a class together.
        test: test files.
        test_part: what they are.
        holdout: fraction of each class.
        root: for messages.

    Raises:
        ValueError: there is a test part already, or nothing that can be held out.
    """
    if holdout is None:
        return tuple(train), tuple(test), test_part
    if test:
        raise ValueError(
            f"holdout: {root!r} has a test part already ({test_part}): leave holdout out, or set test_folder to null"
        )
    chosen = set[str]()
    for _, group in groupby(train, key=lambda file: file.label):
        chosen.update(held_out([file.id for file in group], holdout))
    if not chosen:
        raise ValueError(f"root: no class in {root!r} has a second image to hold out as a test image: add some")
    kept = tuple(file for file in train if file.id not in chosen)
    return kept, tuple(file for file in train if file.id in chosen), f"{holdout:.0%} of each class, held out"


# --- one folder a class, or a training and a test folder with one folder a class each ---
_Files = dict[str, list[ImageFile]]
"""Class to its files."""


def _parts(reader: FolderReader, top: dict[str, str], layout: Layout) -> tuple[str, str | None] | None:
    """Names of the training folder and of the test folder; None where the folders right in the root are classes.

    Raises:
        ValueError: it cannot be told, or a folder that was named is not there.
    """
    root, names = reader.root, parts_among(top)
    for argument, value in (("train_folder", layout.train_folder), ("test_folder", layout.test_folder)):
        if value not in (None, "auto", *top):
            raise ValueError(f"{argument}: {root!r} has no folder {value!r}: name one of {', '.join(map(repr, top))}")
    split = {part: [name for name in names if names[name] == part] for part in ("train", "val", "test")}
    with_classes = [name for name in top if _has_classes(reader, top[name])]
    trains = [layout.train_folder] if layout.train_folder else [n for n in split["train"] if n in with_classes]
    if not trains:
        if top and len(names) == len(top) and not with_classes:
            tables = _tables(reader, [root, *top.values()])
            raise ValueError(
                f"root: {_list(top)} in {root!r} hold images without class folders: {tables or _name_a_table()}"
            )
        tests = [name for part in ("test", "val") for name in split[part] if name in with_classes]
        if tests and layout.test_folder is not None and not _shared(reader, top):
            raise ValueError(
                f"root: {root!r} has a {tests[0]} folder but no train folder with classes: lay it out as {LAYOUT}, or"
                " name the training folder with train_folder"
            )
        return None
    if len(trains) > 1:
        raise ValueError(f"root: {_list(trains)} in {root!r} may all be the training part: set train_folder to one")
    if layout.test_folder != "auto":
        return trains[0], layout.test_folder
    for part in ("test", "val"):
        tests = [name for name in split[part] if name in with_classes and name != trains[0]]
        if len(tests) > 1:
            raise ValueError(
                f"root: {_list(tests)} in {root!r} may all be the test part: set test_folder to one, or to null"
            )
        if tests:
            return trains[0], tests[0]
    return trains[0], None


def _by_part(
    reader: FolderReader, top: dict[str, str], train_folder: str, test_folder: str | None, nested: bool
) -> tuple[_Files, _Files, str]:
    """Files of root/train/<class> and root/test/<class>."""
    for name, path in top.items():
        if name not in (train_folder, test_folder):
            read = f"{train_folder} and {test_folder} are" if test_folder else f"{train_folder} is"
            why = "" if reader.folders(path) else "it has no class folders; "
            reader.leave_out(path, f"{why}only {read} read")
    place = _unwrapped(reader, top[train_folder])
    if loose := reader.files(place):
        reader.left_out[f"{len(loose)} images right in {reader.id_of(place)}"] = "in no class folder"
    folders = reader.folders(place, refuse_links=True)
    if len(folders) > 1 and not nested:
        _refuse_shared(reader, folders)
    train = _of_folders(reader, folders)
    if test_folder is None:
        return train, {}, ""
    place = _unwrapped(reader, top[test_folder])
    test = {name: files for name, files in _of_folders(reader, reader.folders(place, True)).items() if files}
    if not test:
        raise ValueError(
            f"root: {top[test_folder]!r} has no image in class folders: add some, or set test_folder to null"
        )
    return train, test, f"the folder {test_folder}"


def _by_class(reader: FolderReader, top: dict[str, str], layout: Layout) -> tuple[_Files, _Files, str]:
    """Files of root/<class>, or of root/<class>/train and root/<class>/test."""
    below = {name: reader.folders(path) for name, path in top.items()}
    parts = {name: parts_among(folders) for name, folders in below.items()}
    by_part = [name for name in top if {"train"} < set(parts[name].values())]
    if not by_part or any(len(parts[name]) < len(below[name]) for name in top):
        if not layout.nested and len(top) > 1:
            _refuse_shared(reader, top)
        return _of_folders(reader, top), {}, ""
    if not layout.nested:
        _refuse_parts_of_classes(reader, below, parts)
    train: _Files = {}
    test: _Files = {}
    if without := [name for name in top if below[name] and "train" not in parts[name].values()]:
        raise ValueError(
            f"root: {_list(without)} in {reader.root!r} {'has' if len(without) == 1 else 'have'} no train folder, as"
            f" {by_part[0]!r} has: add one to each class"
        )
    used = "test" if any("test" in parts[name].values() for name in top) else "val"
    for name, path in top.items():
        if below[name] and (loose := reader.files(path)):
            raise ValueError(
                f"root: {path!r} has {len(loose)} images beside its folders {_list(below[name])}: move them into one"
            )
        train[name] = [] if below[name] else _of_class(reader, path, path)
        for folder, part in parts[name].items():
            if part == "train":
                train[name] += _of_class(reader, below[name][folder], path)
            elif part == used:
                test.setdefault(name, []).extend(_of_class(reader, below[name][folder], path))
            else:
                reader.leave_out(below[name][folder], f"only the train and {used} folders of each class are read")
    return train, test, f"the {used} folder of each class"


def _refuse_parts_of_classes(
    reader: FolderReader, below: dict[str, dict[str, str]], parts: dict[str, dict[str, Part]]
) -> None:
    """Raises: ValueError if what would be the training part of a class has folders that may be the classes."""
    for name, folders in below.items():
        for folder, part in parts[name].items():
            inside = reader.folders(folders[folder])
            if part == "train" and len(inside) > 1:
                place = os.path.dirname(folders[folder])
                raise ValueError(
                    f"root: {folders[folder]!r} has folders of its own ({_list(inside)}): if those are the classes, set"
                    f" root to {place!r}; if they belong to the class {name!r}, set nested to true"
                )


def _of_folders(reader: FolderReader, folders: dict[str, str]) -> _Files:
    """Each folder's files; what a folder without any holds is said."""
    found: _Files = {}
    for name, path in folders.items():
        before = reader.skipped.copy()
        found[name] = _of_class(reader, path, path)
        if not found[name]:
            kinds = ", ".join(f"{kind!r}: {count}" for kind, count in (reader.skipped - before).most_common(3))
            reader.skipped = before
            reader.leave_out(path, f"no image in it ({kinds})" if kinds else "no image in it")
    return found


def _listing(reader: FolderReader, layout: Layout, train: _Files, test: _Files, test_part: str) -> Listing:
    root = reader.root
    names = [name for name, files in train.items() if files]
    if len(names) < layout.fewest_classes:
        raise ValueError(_too_few(reader, names, train))
    same = {unicodedata.normalize("NFC", name): name for name in names}
    test = {name if name in train else same.get(unicodedata.normalize("NFC", name), name): test[name] for name in test}
    if odd := sorted(set(test) - set(names)):
        raise ValueError(
            f"root: {test_part} has classes that the training part has not ({', '.join(map(repr, odd))}): rename or"
            " remove them, or set test_folder to null"
        )
    classes = chosen_classes(names, layout.only, layout.class_seed)
    chosen, others = (
        [replace(file, label=label) for label, name in enumerate(classes) for file in files.get(name, [])]
        for files in (train, test)
    )
    if test_part and not others:
        raise ValueError(f"root: {test_part} in {root!r} has no image of the classes: add some, or set it to null")
    kept, held, test_part = split_off(chosen, others, test_part, layout.holdout, root)
    return Listing(tuple(classes), kept, held, test_part, reader.said())


def _of_class(reader: FolderReader, folder: str, of_class: str) -> list[ImageFile]:
    """The files in a folder that is, or is in, the folder of a class."""
    place = reader.id_of(of_class).count("/")
    return [replace(file, class_at=place) for file in reader.images(folder, -1)]


def _has_classes(reader: FolderReader, folder: str) -> bool:
    """Whether a folder holds class folders, and not images with a folder among them."""
    place = _unwrapped(reader, folder)
    count = len(reader.folders(place))
    return count > 1 or (count == 1 and not reader.files(place))


def _unwrapped(reader: FolderReader, folder: str) -> str:
    """The folder, or the only one in it if that has its name or the classes, as in ``seg_train/seg_train/<class>``."""
    while True:
        folders = reader.folders(folder)
        if len(folders) != 1 or reader.files(folder):
            return folder
        ((name, below),) = folders.items()
        if len(reader.folders(below)) < 2 and name.casefold() != os.path.basename(folder).casefold():
            return folder
        folder = below


def _shared(reader: FolderReader, folders: dict[str, str]) -> list[str]:
    """Names of sub-folders that all of the folders have."""
    names = [{name.casefold(): name for name in reader.folders(path)} for path in folders.values()]
    common = set(names[0]).intersection(*names[1:]) if names else set()
    return sorted(name for key, name in names[0].items() if key in common) if names else []


def _refuse_shared(reader: FolderReader, folders: dict[str, str]) -> None:
    """Raises: ValueError if all folders have two sub-folders or more in common: then those may be the classes."""
    shared = _shared(reader, folders)
    if len(shared) > 1:
        raise ValueError(
            f"root: {_list(folders)} in {reader.root!r} all contain the sub-folders {_list(shared)}, so they may not be"
            " the classes: if they are parts of the data, set train_folder and test_folder to two of them or root to"
            " one; if they are classes, set nested to true"
        )


def _too_few(reader: FolderReader, names: Sequence[str], train: _Files) -> str:
    """Why there are fewer than two classes, and what to do."""
    root = reader.root
    found = f"the class folder {names[0]!r} only" if names else "no class folder with images"
    loose = reader.files(root)
    beside = f" and {len(loose)} images right in it ({', '.join(map(repr, loose[:3]))})" if loose else ""
    empty = [name for name in train if name not in names]
    if empty:
        kinds = reader.left_out.get(reader.id_of(os.path.join(root, empty[0])), "").partition("(")[2].rstrip(")")
        inside = f", but {kinds}: it takes files such as .jpg and .png" if kinds else ""
        beside += f"; {_list(empty)} {'has' if len(empty) == 1 else 'have'} no image{inside}"
    if deeper := _deeper(reader, root):
        return f"root: {root!r} has {found}{beside}, and the classes seem to be in {deeper!r}: set root to that"
    if not names and (archives := reader.files(root, ARCHIVES)):
        return (
            f"root: {root!r} has {found}, but {_list(archives)}, which is not read: unpack it, or"
            " read arrays in Python and give them to cleanse.check"
        )
    tables = _tables(reader, [root, *reader.folders(root).values()])
    if loose or tables:
        return f"root: {root!r} has {found}{beside}, and at least two are needed: {tables or _name_a_table()}"
    return f"root: {root!r} has {found}{beside}, and at least two are needed: lay it out as {LAYOUT}"


def _deeper(reader: FolderReader, folder: str, levels: int = 4) -> str | None:
    """The first folder below that holds at least two folders with images, or parts; None if there is none."""
    inside = reader.folders(folder) if levels else {}
    parts = parts_among(inside)
    for name, path in inside.items():
        if parts.get(name, "train") != "train":
            continue  # the test part is not what is to be cleansed
        below = reader.folders(path)
        trains = [below[name] for name, part in parts_among(below).items() if part == "train"]
        for classes in (below.values(), *(reader.folders(train).values() for train in trains)):
            if sum(bool(reader.files(place)) for place in classes) > 1:
                return path
        if found := _deeper(reader, path, levels - 1):
            return found
    return None


def _tables(reader: FolderReader, folders: Sequence[str]) -> str:
    """What to do with the tables that lie in these folders; empty if there are none."""
    found = [reader.id_of(os.path.join(folder, name)) for folder in folders for name in reader.files(folder, TABLES)]
    if not found:
        return ""
    found.sort(key=_unlikely)
    return f"if {_list(found)} {'has' if len(found) == 1 else 'have'} the labels, add --data.labels {found[0]}"


def _unlikely(table: str) -> int:
    """How unlikely a table is to have the labels of the training part, by its name."""
    stem = os.path.splitext(os.path.basename(table))[0].lower()
    part = part_of(stem)
    if "submission" in stem or (part is not None and part[0] != "train"):
        return 2
    return 0 if part is not None or "label" in stem or "metadata" in stem else 1


def _name_a_table() -> str:
    return "put them into one folder per class, or name a table of their labels with --data.labels FILE"


def _list(names: Sequence[str] | dict[str, str], most: int = 5) -> str:
    shown = [repr(name) for name in list(names)[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
