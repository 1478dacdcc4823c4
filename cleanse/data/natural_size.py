"""How large the images of a folder are, by a look at a few of them."""

import os
import stat
import warnings
from statistics import median

from PIL import Image

from cleanse.data.decode import FORMATS, MAX_BYTES
from cleanse.data.folder_reader import EXTENSIONS

SAMPLE = 64
SMALLEST, LARGEST = 16, 224


def natural_size(folder: str) -> int:
    """The median shorter side, in pixels, of the first images found, between 16 and 224; 32 where there is none.

    Only the heads of files are read.

    Args:
        folder: with images in it or below.
    """
    sides = _shorter_sides(folder)
    return 32 if not sides else min(LARGEST, max(SMALLEST, int(median(sides))))


def _shorter_sides(folder: str) -> list[int]:
    Image.init()
    sides: list[int] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        named = sorted(n for n in files if os.path.splitext(n)[1].lower() in EXTENSIONS and not n.startswith("."))
        for name in named[: max(4, SAMPLE // 8)]:  # some of each class
            if (side := _shorter_side(os.path.join(place, name))) is not None:
                sides.append(side)
        if len(sides) >= SAMPLE:
            break
    return sides


def _shorter_side(path: str) -> int | None:
    """Of an image; None for what is none, and for a pipe or a device, which would be read for ever."""
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as image:
                return min(image.size)
    except Exception:  # a damaged file makes Pillow raise about anything
        return None
