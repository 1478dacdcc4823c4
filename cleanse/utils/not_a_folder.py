"""What to do with something that was given for a folder of images and is none."""

import os
import re
from difflib import get_close_matches

from cleanse.utils.endings import ARCHIVES, ARRAYS, IMAGES, TABLES

LAYOUT = "a folder with one folder of images per class"


def not_a_folder(path: str) -> str:
    """One sentence that says what to do; empty for a folder with something in it.

    Nothing is imported for it, and of files the names alone are looked at.

    Args:
        path: what was given.

    Raises:
        OSError: a folder that may not be read.

    >>> not_a_folder("https://example.com/p")
    "'https://example.com/p' is an address: download it first, and give a folder with one folder of images per class"
    """
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            return "" if next(entries, None) else f"{path!r} is an empty folder: give {LAYOUT}"
    if re.match(r"[A-Za-z][\w+.-]*://", path):
        return f"{path!r} is an address: download it first, and give {LAYOUT}"
    if not os.path.exists(path):
        return f"there is no folder {path!r}: {_near(path)}give {LAYOUT}"
    kind = os.path.splitext(path)[1].lower()
    if kind in ARCHIVES:
        return f"{path!r} is an archive: unpack it first, and give {LAYOUT} from it"
    if kind in IMAGES:
        return f"{path!r} is a single image: give {LAYOUT}"
    if kind in ARRAYS or kind == ".parquet":
        return (
            f"{path!r} has its data inside: give {LAYOUT}, or load them in Python and call cleanse.check with a "
            "data set of (image, label)"
        )
    if kind in TABLES or kind == ".txt":
        return (
            f"{path!r} is a table or a text: give the folder of the images, and --data.labels {path} for their labels"
        )
    if kind in (".yaml", ".yml"):
        return f"{path!r} is a config: name it with --config {path}, and give {LAYOUT}"
    return f"{path!r} is not a folder: give {LAYOUT}"


def _near(path: str) -> str:
    """A folder beside it whose name is nearly the same, as a question."""
    place, name = os.path.split(path.rstrip(os.sep))
    try:
        with os.scandir(place or ".") as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return ""
    near = get_close_matches(name, folders, n=1)
    return f"did you mean {os.path.join(place, near[0])!r}? " if near else ""
