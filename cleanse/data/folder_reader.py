"""Reading folders that somebody else filled: images by their names, and a record of what is left out."""

import os
import re
import stat
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass

from cleanse.utils import endings

EXTENSIONS = endings.IMAGES
ARCHIVES = endings.ARCHIVES | endings.ARRAYS
TABLES = endings.TABLES
_SYSTEM = re.compile(
    r"__macosx|@eadir|lost\+found|\$recycle\.bin|recycler|recycled|system volume information|found\.\d{3}"
    r"|@recycle|#recycle|#snapshot|~snapshot|@recently-snapshot|network trash folder|temporary items"
    r"|__pycache__|lightning_logs|wandb|mlruns",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ImageFile:
    """A file that is called an image.

    Attributes:
        id: path relative to the root, with ``/``.
        path: the same with the root.
        label: number of its class; -1 for none.
        version: size in bytes and time of the last change in nanoseconds.
        refused: why it must not be opened; empty if it may.
        class_at: which part of the id is the name of its class; None where no folder has it.
    """

    id: str
    path: str
    label: int
    version: tuple[int, int]
    refused: str = ""
    class_at: int | None = None


class FolderReader:
    """Reads folders below one root and remembers what it leaves out.

    Args:
        root: the folder that ids are relative to.
        follow_links: follow links to folders, and to files outside ``root``.
    """

    def __init__(self, root: str, follow_links: bool) -> None:
        self.root, self.real_root, self.follow_links = root, os.path.realpath(root), follow_links
        self.skipped: Counter[str] = Counter()
        self.left_out: dict[str, str] = {}

    def folders(self, folder: str, refuse_links: bool = False) -> dict[str, str]:
        """Names and paths of the folders in a folder, by name, without hidden ones and those that systems make.

        Args:
            folder: to look into.
            refuse_links: whether a link that must not be followed is an error; else it is no folder.

        Raises:
            ValueError: there is such a link.
        """
        found = {}
        for entry in self._entries(folder):
            if not _is_folder(entry) or self._leaves_out(entry):
                continue
            if not entry.is_symlink() or self.follow_links:
                found[entry.name] = entry.path
            elif refuse_links:
                raise ValueError(f"root: {entry.path!r} is a link to a folder: remove it, or set follow_links to true")
        return found

    def files(self, folder: str, extensions: frozenset[str] = EXTENSIONS) -> list[str]:
        """Names of the files right in a folder, not below, that have one of these extensions."""
        entries = (e for e in self._entries(folder) if _is_file(e) and e.name[0] != ".")
        return [entry.name for entry in entries if _extension(entry.name) in extensions]

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
                extension = _extension(entry.name)
                if _is_folder(entry):
                    if self._leaves_out(entry):
                        continue
                    if entry.is_symlink() and not self.follow_links:
                        self.skipped["links to folders"] += 1
                    elif entry.is_symlink():
                        waiting.append(entry.path)
                    else:
                        waiting.appendleft(entry.path)  # before any link, so that files have their own names
                elif entry.name[0] == ".":
                    self.skipped["hidden"] += 1
                elif extension in EXTENSIONS:
                    found.append(self._file(entry, label))
                else:
                    self.skipped[extension or "no extension"] += 1
        return sorted(found, key=lambda file: file.id)

    def leave_out(self, path: str, why: str) -> None:
        """Remember that a file or folder is not read."""
        self.left_out[self.id_of(path)] = why

    def id_of(self, path: str) -> str:
        """A path relative to the root, with ``/``."""
        return os.path.relpath(path, self.root).replace(os.sep, "/")

    def said(self) -> tuple[tuple[str, str], ...]:
        """What was left out, each with the reason; files that are not called images as one entry."""
        found = sorted(self.left_out.items())
        if self.skipped:
            common = sorted(self.skipped.items(), key=lambda kind: (-kind[1], kind[0]))[:10]
            kinds = ", ".join(f"{kind!r}: {count}" for kind, count in common)
            number = self.skipped.total()
            found.append((f"{number} other file{'' if number == 1 else 's'}", f"not named like an image ({kinds})"))
        return tuple(found)

    def _leaves_out(self, entry: os.DirEntry[str]) -> bool:
        if (why := why_no_class(entry)) is None:
            return False
        self.leave_out(entry.path, why)
        return True

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            reason = error.strerror or str(error)
            raise ValueError(f"root: {folder!r} cannot be listed ({reason}): make it readable or remove it") from error

    def _file(self, entry: os.DirEntry[str], label: int) -> ImageFile:
        id, refused, version = self.id_of(entry.path), "", (0, 0)
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


def why_no_class(entry: os.DirEntry[str]) -> str | None:
    """Why a folder among the images is nobody's class; None for one that may be."""
    if entry.name[0] == ".":
        return "hidden"
    if _SYSTEM.fullmatch(entry.name):
        return "made by a system or a tool"
    return "run directories of cleanse" if _holds_runs(entry.path) else None


def _extension(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether it is a regular file, or a link to one; a pipe would wait for ever to be read."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _holds_runs(folder: str) -> bool:
    """Whether a folder has run directories or stages in it, as ``runs`` has when it was made among the images."""
    return any(
        os.path.isfile(os.path.join(place, "stage.json"))
        or all(os.path.isfile(os.path.join(place, name)) for name in ("config.yaml", "results.json"))
        for place in _some_folders(folder)
    )


def _some_folders(folder: str, most: int = 50) -> Iterator[str]:
    """The folder itself and its first folders."""
    yield folder
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(most), entries, strict=False):
                if entry.is_dir(follow_symlinks=False):
                    yield entry.path
    except OSError:
        return
