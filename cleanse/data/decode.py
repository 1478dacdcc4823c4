"""Image files that somebody else made, as tensors of one size; what does not decode is named, not trusted."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleanse.engine.runner import is_rank_zero

if TYPE_CHECKING:
    from PIL.Image import Image

# What Pillow may open. Not everything it could: its EPS reader starts Ghostscript, and TGA has no signature.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 89_000_000  # 270 MB in RGB, just below what Pillow calls a decompression bomb
MAX_BYTES = 3 * MAX_PIXELS  # some readers of Pillow take in, or search, a whole file before they look at its size
LARGE = 16_000_000  # pixels; from here on one image at a time: each thread could need a gigabyte
PROGRESS_FROM = 2000  # files
BLOCK = 32  # files that one thread takes at a time

_one_large = Lock()


def decode(path: str, size: int, crop: bool = True) -> NDArray[np.uint8]:
    """One image file as size x size pixels in RGB.

    * The first frame of an animation; the EXIF orientation is applied; transparency lies on black; 16-bit gray levels
      become 8-bit ones.
    * Scaled bilinear with antialiasing. A JPEG that is far too large is decoded at a half, a quarter or an eighth of
      its size first, as long as three times ``size`` remain.

    Args:
        path: of the file.
        size: side of the result in pixels.
        crop: scale the short side to ``size`` and cut a square from the middle, as torchvision's ``Resize`` and then
            ``CenterCrop``; else squeeze the whole image into the square.

    Returns:
        (size, size, 3).

    Raises:
        ValueError: why the file cannot be used, without its name.
    """
    from PIL import Image, UnidentifiedImageError

    Image.init()
    try:
        if not (length := os.path.getsize(path)):
            raise ValueError("empty file")
        if length > MAX_BYTES:
            raise ValueError(f"{length} bytes are more than {MAX_BYTES}")
        with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f"{file.width} x {file.height} pixels are more than {MAX_PIXELS}")
            file.draft(None, (3 * size, 3 * size))
            with _one_large if file.width * file.height > LARGE else nullcontext():
                image = _rgb(_upright(file))
    except UnidentifiedImageError as error:
        raise ValueError("not an image, or of an unknown format") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MAX_PIXELS} pixels") from error
    except OSError as error:
        raise ValueError(error.strerror or _said(error)) from error
    except Exception as error:  # a damaged file makes Pillow's decoders raise about anything
        raise ValueError(_said(error) or type(error).__name__) from error
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side) if crop else (0, 0, width, height)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, box=box))


def decode_files(
    paths: Sequence[str], size: int, crop: bool = True, into: Tensor | None = None
) -> tuple[Tensor, dict[int, str]]:
    """Many files at once, in threads, with a progress bar on standard error when there are more than 2000.

    Args:
        paths: of the files.
        size: side of the images in pixels.
        crop: see `decode`.
        into: (N, 3, size, size) uint8 zeros to write the images to; None for new ones.

    Returns:
        image: (N, 3, size, size) uint8; black where a file could not be used.
        why: position in ``paths`` to the reason, of files that could not be used.
    """
    from tqdm import tqdm

    pixels = np.zeros((len(paths), 3, size, size), np.uint8) if into is None else into.numpy()
    why: dict[int, str] = {}

    def work(start: int) -> int:
        block = paths[start : start + BLOCK]
        for i, path in enumerate(block, start):
            try:
                pixels[i] = decode(path, size, crop).transpose(2, 0, 1)
            except ValueError as error:
                why[i] = str(error)
        return len(block)

    hidden = len(paths) <= PROGRESS_FROM or not is_rank_zero()
    with (
        ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool,  # Pillow decodes and scales without the GIL
        tqdm(total=len(paths), desc="reading images", unit=" images", mininterval=1, disable=hidden) as bar,
    ):
        for done in pool.map(work, range(0, len(paths), BLOCK)):
            bar.update(done)
    return torch.from_numpy(pixels), dict(sorted(why.items()))


def _said(error: Exception) -> str:
    """The first line's worth of an error, without what a file could do to a terminal by being quoted in it."""
    return ascii(" ".join(str(error).split()))[1:-1][:200]


def _upright(image: "Image") -> "Image":
    """The image as its EXIF orientation wants it."""
    from PIL.Image import Transpose

    turn = {
        **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE},
        **{6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
    }
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # damaged metadata of an image that may be fine
        orientation = None
    return image.transpose(turn[orientation]) if orientation in turn else image


def _rgb(image: "Image") -> "Image":
    """Any mode of Pillow's as RGB.

    Raises:
        ValueError: the values have no known range.
    """
    from PIL.Image import alpha_composite, fromarray, new

    if image.mode == "F":
        raise ValueError("floating-point values have no known range")
    if image.mode.startswith("I"):  # Pillow itself would cut these off at 255
        level = np.asarray(image).astype(np.int64)
        if level.min() < 0 or level.max() >= 2**16:
            raise ValueError("32-bit values have no known range")
        level = (level * 255 + 32767) // 65535
        return fromarray(level.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = alpha_composite(new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert("RGB")
