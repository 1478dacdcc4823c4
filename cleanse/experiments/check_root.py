"""A published data set is not downloaded into somebody's pictures."""

import os
from collections.abc import Iterator
from itertools import islice

from cleanse.data.base import ImageDataModule
from cleanse.data.folder_reader import why_no_class

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".avif")
MOST = 200
"""Entries of a folder that are looked at."""


def check_root(data: ImageDataModule) -> None:
    """See that the root of a data set that can be downloaded is not a folder of pictures.

    Raises:
        ValueError: it has pictures in it, or folders of pictures.
    """
    root = getattr(data, "root", None)
    if not getattr(data, "download", False) or not isinstance(root, str) or not _is_of_pictures(root):
        return
    name = type(data).__name__
    raise ValueError(
        f"data.root: {root!r} is a folder of pictures, but the data are {name}, which would be downloaded into it: add "
        f"--config data/folder.yaml to use the pictures, or give {name} a folder of its own"
    )


def _is_of_pictures(folder: str) -> bool:
    """Whether a folder has pictures in it, or looks like one folder per class, or like parts that look so."""
    if _has_pictures(folder):
        return True
    inner = _folders(folder)
    if len(inner) > 1 and all(_has_pictures(path) for path in inner):  # a folder of data sets has others in it, too
        return True
    parts = [_folders(path) for path in inner]
    return bool(parts) and all(len(part) > 1 and all(_has_pictures(path) for path in part) for part in parts)


def _has_pictures(folder: str) -> bool:
    return any(entry.name.lower().endswith(ENDINGS) and not entry.is_dir() for entry in _entries(folder))


def _folders(folder: str) -> list[str]:
    return [entry.path for entry in _entries(folder) if entry.is_dir() and why_no_class(entry) is None]


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from islice(entries, MOST)
    except OSError:
        return
