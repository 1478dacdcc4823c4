"""Image files that somebody else made, as tensors of one size; what does not decode is named, not trusted."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Literal

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
MAX_TEXT = 16 * 2**20  # bytes of a text or color profile in a PNG file, unpacked; Pillow's own limit is 1 MB
LARGE = 16_000_000  # pixels; from here on one image at a time: each thread could need a gigabyte
PROGRESS_FROM = 2000  # files
BLOCK = 32  # files that one thread takes at a time

_one_large = Lock()


Background = Literal["black", "white", "gray"]
Levels = dict[str, tuple[float, float]]
"""Of ``int`` (files with 16 or 32 bits a value) and ``float`` files: which values become 0 and 255."""

_BACKGROUNDS: dict[Background, tuple[int, int, int, int]] = {
    "black": (0, 0, 0, 255), "white": (255, 255, 255, 255), "gray": (128, 128, 128, 255),
}  # fmt: skip


@dataclass
class Decoded:
    """What `decode_files` found.

    Attributes:
        image: (N, 3, size, size) uint8; black where a file could not be used.
        why: position in ``paths`` to the reason, of files that could not be used.
        levels: range of the values of files that have more than 8 bits a value; empty without such files.
        wide: how many files have more than 8 bits a value.
        transparent: positions of files that are not opaque everywhere.
    """

    image: Tensor
    why: dict[int, str] = field(default_factory=dict)
    levels: Levels = field(default_factory=dict)
    wide: int = 0
    transparent: list[int] = field(default_factory=list)


class _Wide(Exception):
    """A file with more than 8 bits a value was met, and nobody has said which range they have."""

    def __init__(self, kind: str, low: float, high: float) -> None:
        super().__init__(kind)
        self.kind, self.low, self.high = kind, low, high


def decode(
    path: str, size: int, crop: bool = True, background: Background = "black", levels: Levels | None = None
) -> NDArray[np.uint8]:
    """One image file as size x size pixels in RGB.

    * The first frame of an animation; the EXIF orientation is applied; transparency lies on ``background``.
    * Scaled bilinear with antialiasing. A JPEG that is far too large is decoded at a half, a quarter or an eighth of
      its size first, as long as three times ``size`` remain.

    Args:
        path: of the file.
        size: side of the result in pixels.
        crop: scale the short side to ``size`` and cut a square from the middle, as torchvision's ``Resize`` and then
            ``CenterCrop``; else squeeze the whole image into the square.
        background: what shows through transparent pixels.
        levels: which values of a file with more than 8 bits become 0 and 255; None for the file's own (`levels_of`).

    Returns:
        (size, size, 3).

    Raises:
        ValueError: why the file cannot be used, without its name.
    """
    try:
        return _decode(path, size, crop, background, levels)[0]
    except _Wide as wide:
        found = levels_of([(wide.kind, wide.low, wide.high)])
    return _decode(path, size, crop, background, found)[0]


def decode_files(
    paths: Sequence[str],
    size: int,
    crop: bool = True,
    into: Tensor | None = None,
    background: Background = "black",
    levels: Levels | None = None,
) -> Decoded:
    """Many files at once, in threads, with a progress bar on standard error when there are more than 2000.

    Args:
        paths: of the files.
        size: side of the images in pixels.
        crop: see `decode`.
        into: (N, 3, size, size) uint8 zeros to write the images to; None for new ones.
        background: see `decode`.
        levels: those of files read before, for files of a kind that was among them; None to find the range that all
            files of a kind have together, so that a dark image stays darker than a bright one.
    """
    from PIL.Image import DecompressionBombWarning

    pixels = np.zeros((len(paths), 3, size, size), np.uint8) if into is None else into.numpy()
    found = Decoded(torch.from_numpy(pixels), levels=dict(levels or {}))
    wide: dict[int, _Wide] = {}

    def work(block: Sequence[int]) -> int:
        for i in block:
            try:
                image, transparent = _decode(paths[i], size, crop, background, found.levels)
            except _Wide as error:
                wide[i] = error
            except ValueError as error:
                found.why[i] = str(error)
            else:
                pixels[i] = image.transpose(2, 0, 1)
                if transparent:
                    found.transparent.append(i)
        return len(block)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DecompressionBombWarning)  # we look at the size ourselves, and name the file
        _in_threads(work, range(len(paths)))
        if wide:
            found.levels |= levels_of([(one.kind, one.low, one.high) for one in wide.values()])
            found.wide = len(wide)
            _in_threads(work, sorted(wide))
    found.why = dict(sorted(found.why.items()))
    found.transparent.sort()
    return found


def levels_of(ranges: Iterable[tuple[str, float, float]]) -> Levels:
    """Which values become 0 and 255, for files with more than 8 bits a value.

    Whole numbers count from 0 to the largest number of 8, 10, 12, 14 or 16 bits that none exceeds; floating-point
    values from 0 to 1 or to 255 if none exceeds that. What does not fit there has its own range, from the lowest value
    to the highest one.

    Args:
        ranges: kind (``int`` or ``float``), lowest and highest value of each file.

    >>> levels_of([("int", 0, 3000), ("int", 7, 4095), ("float", -1.0, 0.5)])
    {'int': (0.0, 4095.0), 'float': (-1.0, 0.5)}
    """
    found: dict[str, tuple[float, float]] = {}
    for kind, low, high in ranges:
        before = found.get(kind, (low, high))
        found[kind] = (min(low, before[0]), max(high, before[1]))
    usual = {"int": (255.0, 1023.0, 4095.0, 16383.0, 65535.0), "float": (1.0, 255.0)}
    for kind, (low, high) in found.items():
        limit = next((limit for limit in usual[kind] if high <= limit), None)
        found[kind] = (float(low), float(high)) if low < 0 or limit is None else (0.0, limit)
    return found


def _decode(
    path: str, size: int, crop: bool, background: Background, levels: Levels | None
) -> tuple[NDArray[np.uint8], bool]:
    """The image, and whether it has transparent pixels."""
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    Image.init()
    PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MAX_TEXT)
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
                image, transparent = _rgb(_upright(file), background, levels or {})
    except UnidentifiedImageError as error:
        raise ValueError(_unknown(path)) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"more than {MAX_PIXELS} pixels") from error
    except OSError as error:
        raise ValueError(error.strerror or _said(error)) from error
    except _Wide:
        raise
    except Exception as error:  # a damaged file makes Pillow's decoders raise about anything
        raise ValueError(_said(error) or type(error).__name__) from error
    return np.asarray(_square(image, size, crop)), transparent


def _unknown(path: str) -> str:
    """Why a file that Pillow does not know cannot be used."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        head = b""
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"):
        return "a HEIC image, which is not read: convert it to JPEG or PNG"
    if head[:2] == b"\xff\x0a" or head[4:8] == b"JXL ":
        return "a JPEG XL image, which is not read: convert it to JPEG or PNG"
    return "not an image, or of an unknown format"


def of_pillow(image: "Image", size: int | None, background: Background = "black") -> NDArray[np.uint8]:
    """An image that Pillow holds already, as `decode` has those of files.

    Args:
        image: of any mode.
        size: side of the result, cut from the middle; None for the image's own height and width.
        background: see `decode`.

    Returns:
        (H, W, 3).

    Raises:
        ValueError: why the image cannot be used.
    """
    image = _upright(image)
    try:
        rgb, _ = _rgb(image, background, {})
    except _Wide as wide:
        rgb, _ = _rgb(image, background, levels_of([(wide.kind, wide.low, wide.high)]))
    return np.asarray(rgb if size is None else _square(rgb, size, crop=True))


def _square(image: "Image", size: int, crop: bool) -> "Image":
    from PIL.Image import Resampling

    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side) if crop else (0, 0, width, height)
    return image.resize((size, size), Resampling.BILINEAR, box=box)


def _in_threads(work: Callable[[Sequence[int]], int], rows: Sequence[int]) -> None:
    """Call ``work`` on parts of ``rows``, with a progress bar if there are many."""
    from tqdm import tqdm

    blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
    hidden = len(rows) <= PROGRESS_FROM or not is_rank_zero()
    with (
        ThreadPoolExecutor(min(32, os.cpu_count() or 1)) as pool,  # Pillow decodes and scales without the GIL
        tqdm(total=len(rows), desc="reading images", unit=" images", mininterval=1, disable=hidden) as bar,
    ):
        for done in pool.map(work, blocks):
            bar.update(done)


def _said(error: Exception) -> str:
    """The first line's worth of an error, without what a file could do to a terminal by being quoted in it."""
    return repr(" ".join(str(error).split()))[1:-1][:200]


def _upright(image: "Image") -> "Image":
    """The image as its EXIF orientation wants it."""
    from PIL.Image import Transpose

    turn = {
        **{2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE},
        **{6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90},
    }
    image.load()  # Pillow turns a TIFF file here by itself, and says no more how it has to be turned
    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # damaged metadata of an image that may be fine
        orientation = None
    return image.transpose(turn[orientation]) if orientation in turn else image


def _rgb(image: "Image", background: Background, levels: Levels) -> tuple["Image", bool]:
    """Any mode of Pillow's as RGB, and whether anything of it is transparent.

    Raises:
        _Wide: the image has more than 8 bits a value, of a kind that ``levels`` does not have.
        ValueError: a value is not finite.
    """
    from PIL.Image import alpha_composite, fromarray, new

    if image.mode == "F" or image.mode.startswith("I"):  # Pillow itself would cut these off at 255
        value = np.asarray(image).astype(np.float64)
        kind = "float" if image.mode == "F" else "int"
        if not np.isfinite(value).all():
            raise ValueError("it has values that are not finite")
        if kind not in levels:
            raise _Wide(kind, float(value.min()), float(value.max()))
        low, high = levels[kind]
        level = ((value - low) * (255 / (high - low) if high > low else 0)).round().clip(0, 255)
        return fromarray(level.astype(np.uint8)).convert("RGB"), False
    if image.has_transparency_data:
        image = image.convert("RGBA")
        transparent = image.getchannel("A").getextrema()[0] < 255  # type: ignore[operator]
        return alpha_composite(new("RGBA", image.size, _BACKGROUNDS[background]), image).convert("RGB"), transparent
    return image.convert("RGB"), False
