"""Which files of a user's folder are training and test images, found without opening any."""

import hashlib
import logging
import os
import stat
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

log = logging.getLogger("cleanse")

EXTENSIONS = frozenset(
    (
        *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
LAYOUT = "root/train/<class>/... and root/test/<class>/..., or root/<class>/..."


@dataclass(frozen=True)
class ImageFile:
    """A file that is called an image.

    Attributes:
        id: path relative to the root, with ``/``.
        path: the same with the root.
        label: number of its class.
        version: size in bytes and time of the last change in nanoseconds.
        refused: why it must not be opened; empty if it may.
    """

    id: str
    path: str
    label: int
    version: tuple[int, int]
    refused: str = ""


@dataclass(frozen=True)
class Listing:
    """Names of the classes in label order, and the files of both parts by class and name."""

    classes: tuple[str, ...]
    train: tuple[ImageFile, ...]
    test: tuple[ImageFile, ...]


def list_images(
    root: str,
    test_fraction: float,
    follow_links: bool,
    test_folder: str | None = "test",
    only: int | Sequence[str] | None = None,
    class_seed: int = 0,
) -> Listing:
    """The images below ``root``, in one of the layouts of `ImageFolder`.

    Args:
        root: the folder.
        test_fraction: part of each class to hold out when there is no test folder.
        follow_links: follow links to folders, and to files outside ``root``.
        test_folder: name of the folder beside ``train``; None to hold out a part of ``train`` whatever is beside it.
        only: names of the classes to use, or how many to draw; None for all.
        class_seed: draws them.

    Raises:
        ValueError: a missing folder, another layout, a class without images, or a test class that is not trained on.
    """
    if not os.path.isdir(root):
        what = "is not a folder" if os.path.exists(root) else "does not exist"
        raise ValueError(f"data.root: {root!r} {what}: set it to a folder laid out as {LAYOUT}")
    reader = _Reader(root, follow_links)
    top = reader.folders(root)
    split = "train" in top and bool(reader.folders(top["train"]))
    classes = reader.folders(top["train"]) if split else top
    read = ["train"] if test_folder is None else ["train", test_folder]
    if split and (ignored := sorted(set(top) - set(read))):
        names = ", ".join(map(repr, ignored))
        log.warning("%r has a train folder: only %s is read, not %s", root, " and ".join(read), names)
    if test_folder not in (None, "test", *top):
        raise ValueError(f"test_folder: {root!r} has no folder {test_folder!r}: name one that is beside train, or null")
    if not split and test_folder in top and reader.folders(top[test_folder]):
        raise ValueError(
            f"root: {root!r} has a {test_folder} folder but no train folder with classes: lay it out as {LAYOUT}"
        )
    if len(classes) < 2:
        found = f"the class folder {next(iter(classes))!r} only" if classes else "no class folder"
        raise ValueError(f"root: {root!r} has {found}, and at least two are needed: lay it out as {LAYOUT}")
    known, classes = set(classes), chosen_classes(classes, only, class_seed)
    files = []
    for label, (name, folder) in enumerate(classes.items()):
        found_here = reader.images(folder, label)
        if not found_here:
            raise ValueError(f"root: class {name!r} has no image in {folder!r}: add some or remove the folder")
        files += found_here
    if split and test_folder in top:
        labels = {name: label for label, name in enumerate(classes)}
        test_classes = reader.folders(top[test_folder])
        if odd := sorted(set(test_classes) - known):
            names = ", ".join(map(repr, odd))
            raise ValueError(
                f"root: {test_folder} has classes that train has not ({names}): rename or remove them, or set"
                " test_folder to null to hold a part of train out"
            )
        test_classes = {name: folder for name, folder in test_classes.items() if name in labels}
        test = [file for name, folder in test_classes.items() for file in reader.images(folder, labels[name])]
        if not test:
            raise ValueError(f"root: {top[test_folder]!r} has no image: add some, or remove it to have a part held out")
        train = files
    else:
        chosen = set[str]()
        for _, group in groupby(files, key=lambda file: file.label):
            chosen.update(held_out([file.id for file in group], test_fraction))
        train, test = [file for file in files if file.id not in chosen], [file for file in files if file.id in chosen]
        if not test:
            raise ValueError(f"root: no class in {root!r} has a second image to hold out as a test image: add some")
    reader.warn()
    return Listing(tuple(classes), tuple(train), tuple(test))


def chosen_classes(classes: dict[str, str], only: int | Sequence[str] | None, seed: int) -> dict[str, str]:
    """Some of the classes, in their order; drawn ones have the lowest hashes, so that another class moves few of them.

    Raises:
        ValueError: fewer than two, more than there are, or a name that is not there.

    >>> list(chosen_classes({"ant": "/ant", "bee": "/bee", "cat": "/cat"}, ["cat", "ant"], seed=0))
    ['ant', 'cat']
    """
    if only is None:
        return classes
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
    return {name: folder for name, folder in classes.items() if name in chosen}


def held_out(ids: Sequence[str], fraction: float) -> list[str]:
    """The names with the lowest hashes, ``fraction`` of them rounded; of two and more at least one and never all.

    >>> held_out(["a.png", "b.png", "c.png", "d.png", "e.png"], 0.4)
    ['b.png', 'c.png']
    """
    count = min(len(ids) - 1, max(1, round(fraction * len(ids))))
    by_hash = sorted(ids, key=lambda id: hashlib.sha256(id.encode("utf-8", "surrogateescape")).digest())
    return sorted(by_hash[:count])


class _Reader:
    """Reads folders below one root and counts what it leaves out."""

    def __init__(self, root: str, follow_links: bool) -> None:
        self.root, self.real_root, self.follow_links = root, os.path.realpath(root), follow_links
        self.skipped: Counter[str] = Counter()

    def folders(self, folder: str) -> dict[str, str]:
        """Names and paths of the folders in a folder, by name; not the hidden ones.

        Raises:
            ValueError: one of them is a link that must not be followed.
        """
        found = {entry.name: entry for entry in self._entries(folder) if _is_folder(entry) and entry.name[0] != "."}
        for entry in found.values():
            if entry.is_symlink() and not self.follow_links:
                raise ValueError(f"root: {entry.path!r} is a link to a folder: remove it, or set follow_links to true")
        return {name: entry.path for name, entry in found.items()}

    def images(self, folder: str, label: int) -> list[ImageFile]:
        """All files with the name of an image in a folder and below, by path; no folder twice, however it is linked."""
        found, waiting, seen = [], deque([folder]), set[str]()
        while waiting:
            place = waiting.popleft()
            real = os.path.realpath(place)
            if real in seen:
                self.skipped["links to folders read already"] += 1
                continue
            seen.add(real)
            for entry in self._entries(place):
                extension = os.path.splitext(entry.name)[1].lower()
                if entry.name[0] == ".":
                    self.skipped["hidden"] += 1
                elif _is_folder(entry):
                    if entry.is_symlink() and not self.follow_links:
                        self.skipped["links to folders"] += 1
                    elif entry.is_symlink():
                        waiting.append(entry.path)
                    else:
                        waiting.appendleft(entry.path)  # before any link, so that files have their own names
                elif extension in EXTENSIONS:
                    found.append(self._file(entry, label))
                else:
                    self.skipped[extension or "no extension"] += 1
        return sorted(found, key=lambda file: file.id)

    def warn(self) -> None:
        """Say what was left out, if anything."""
        if self.skipped:
            kinds = ", ".join(f"{kind!a}: {count}" for kind, count in self.skipped.most_common(10))
            total = self.skipped.total()
            log.warning("%r: skipped %d entries that are not called images (%s)", self.root, total, kinds)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ValueError(f"root: {folder!r} cannot be listed ({reason}): make it readable or remove it") from error

    def _file(self, entry: os.DirEntry[str], label: int) -> ImageFile:
        id = os.path.relpath(entry.path, self.root).replace(os.sep, "/")
        refused, version = "", (0, 0)
        if entry.is_symlink() and not self.follow_links and not self._inside(entry.path):
            return ImageFile(id, entry.path, label, version, "a link to outside the folder; follow_links=true reads it")
        try:
            status = os.stat(entry.path)
            version = (status.st_size, status.st_mtime_ns)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                refused = "not a regular file"
        except OSError as error:
            refused = error.strerror or "no such file"
        return ImageFile(id, entry.path, label, version, refused)

    def _inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(os.path.join(self.real_root, ""))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
