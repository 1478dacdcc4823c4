"""Images that stay on disk: tensors over files, which the system pages in and out as they are looked at."""

import json
import logging
import mmap
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from cleanse.utils.files import atomic_write, atomic_write_text

log = logging.getLogger("cleanse")

STREAM_FROM = 2 * 2**30  # bytes of a whole train or test part; a smaller one lives in memory and on the device
CHUNK = 2**28  # bytes of images that are worked on at a time
_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def cache_folder(given: str | None) -> Path:
    """Where decoded images are kept: ``given``, or ``cleanse`` in the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(given or os.path.join(home, "cleanse"))


def scratch(shape: tuple[int, ...], folder: Path) -> Tensor:
    """A uint8 tensor of zeros in a file without a name, which goes when the tensor does, or with the process.

    Raises:
        ValueError: the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        _reserve(file.fileno(), torch.Size(shape).numel(), folder)
        return torch.frombuffer(mmap.mmap(file.fileno(), 0), dtype=torch.uint8).view(shape)


def gathered(
    image: Tensor, rows: Tensor, folder: Path | None, change: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Some images, changed on the way: in memory, or in a `scratch` file with never more than a part in memory.

    Args:
        image: (N, C, H, W) uint8.
        rows: (n,) int64.
        folder: of the file; None for memory.
        change: (B, C, H, W) uint8 to (B, ?, H, W) uint8, image by image.

    Returns:
        (n, ?, H, W) uint8.
    """
    change = change or (lambda part: part)
    if not len(rows):
        return change(image[rows])
    result, done = torch.empty(0), 0
    for part in torch.split(rows, per_chunk(image)):  # the same parts in memory, for the same rounding
        made = change(image[part])
        if len(part) == len(rows) and folder is None:
            return made
        if not done:
            shape = (len(rows), *made.shape[1:])
            result = torch.empty(shape, dtype=torch.uint8) if folder is None else scratch(shape, folder)
        result[done : done + len(part)] = made
        done += len(part)
    return result


def per_chunk(image: Tensor) -> int:
    """How many of these images are worked on at a time."""
    return max(1, CHUNK // max(1, image[:1].numel()))


def made_once(
    key: str, shape: tuple[int, ...], folder: Path, fill: Callable[[Tensor], tuple[dict[int, str], Any]]
) -> tuple[Tensor, dict[int, str], Any]:
    """Images from a file that is made by the first process that asks for it; all others wait and read.

    The file is written aside and counts once its record, which is written last, is there.

    Args:
        key: of what the images are made from.
        shape: (N, C, H, W).
        folder: of the file.
        fill: writes the images into a tensor of zeros; says why rows could not be, and what else is to be remembered
            (JSON-ready).

    Returns:
        image: (n, C, H, W) uint8 of the rows that could be made. What is written into it stays in the memory of this
            process (copy on write); the file does not change.
        why: what ``fill`` said.
        note: what is to be remembered.

    Raises:
        ValueError: the disk has no room for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data, record = folder / f"{key}.images", folder / f"{key}.json"
    with FileLock(folder / f"{key}.lock"):
        known = _recorded(record, data, shape)
        why, note = _make(data, record, shape, fill) if known is None else known
    kept = (shape[0] - len(why), *shape[1:])
    if not kept[0]:
        return torch.empty(kept, dtype=torch.uint8), why, note
    with data.open("rb") as file:  # private: sets larger than the memory must not be counted as memory
        pages = mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return torch.frombuffer(pages, dtype=torch.uint8).view(kept), why, note


def _make(
    data: Path, record: Path, shape: tuple[int, ...], fill: Callable[[Tensor], tuple[dict[int, str], Any]]
) -> tuple[dict[int, str], Any]:
    for left in data.parent.glob(f".{data.name}.*.aside"):  # by a process that was killed; the lock is ours
        left.unlink()
    size = torch.Size(shape[1:]).numel()
    log.info("decoding %d images once into %s (%.1f GB)", shape[0], data, shape[0] * size / 1e9)
    with atomic_write(data, "w+b") as file:
        _reserve(file.fileno(), shape[0] * size, data.parent)
        image = torch.frombuffer(mmap.mmap(file.fileno(), 0), dtype=torch.uint8).view(shape)
        why, note = fill(image)
        kept = [row for row in range(shape[0]) if row not in why]
        for place, row in enumerate(kept):
            if place != row:
                image[place] = image[row]
        del image
        file.truncate(len(kept) * size)
    text = json.dumps({"shape": shape, "why": {str(row): reason for row, reason in why.items()}, "note": note})
    atomic_write_text(record, text)
    return why, note


def _recorded(record: Path, data: Path, shape: tuple[int, ...]) -> tuple[dict[int, str], Any] | None:
    """Why rows are missing in a complete file, and its note; None if there is none."""
    with suppress(OSError, ValueError, KeyError, AttributeError, TypeError):
        known = json.loads(record.read_text())
        why = {int(row): str(reason) for row, reason in known["why"].items()}
        length = (shape[0] - len(why)) * torch.Size(shape[1:]).numel()
        if tuple(known["shape"]) == tuple(shape) and data.stat().st_size == length:
            return why, known["note"]
    return None


def _reserve(file: int, length: int, folder: Path) -> None:
    """Take the room now: a full disk would otherwise kill the process when a page is written."""
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file, 0, length)
        else:
            os.ftruncate(file, length)
    except OSError as error:
        raise ValueError(
            f"{str(folder)!r} has no room for {length / 1e9:.1f} GB of decoded images ({error.strerror}): free some,"
            " or name another folder with the argument cache"
        ) from error
