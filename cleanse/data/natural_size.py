"""How large the images of a folder are, by a look at a few of them."""

import os
from statistics import median

from PIL import Image, UnidentifiedImageError

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
    sides: list[int] = []
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files)[: max(4, SAMPLE // 8)]:  # some of each class
            try:
                with Image.open(os.path.join(place, name)) as image:
                    sides.append(min(image.size))
            except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError):
                continue
        if len(sides) >= SAMPLE:
            break
    return sides
