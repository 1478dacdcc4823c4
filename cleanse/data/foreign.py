"""What poisoned sets of other tools have in common once they are read, and how their files are read safely."""

import os
import stat
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cleanse.attacks.base import CLEAN, COVER, POISON
from cleanse.data.decode import MAX_PIXELS


@dataclass(frozen=True)
class Foreign:
    """A poisoned set of another tool, in the order of the clean data set.

    Attributes:
        image: (N, C, H, W) uint8.
        label: (N,) int64, as given to a defender.
        role: (N,) int8, an index into `cleanse.attacks.ROLES`.
        triggered: rows of the test part, (m,) int64, and their images with the trigger, (m, C, H, W) uint8; None where
            the tool keeps none.
    """

    image: Tensor
    label: Tensor
    role: Tensor
    triggered: tuple[Tensor, Tensor] | None = None


def load_safely(path: Path, why: str) -> Any:
    """A file of ``torch.save`` with tensors, NumPy arrays and plain values, and nothing that would run.

    Args:
        path: of the file.
        why: what it is for, in words.

    Raises:
        ValueError: it is missing, a link, damaged, or holds other objects.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError(f"{str(path)!r} is missing, {why}: name the folder that holds it")
    kinds = [np.int8, np.uint8, np.int16, np.int32, np.int64, np.float32, np.float64, np.bool_]
    allowed: list[Any] = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]
    for old in ("numpy.core.multiarray", "numpy._core.multiarray"):  # NumPy 1 and 2 call the same by two names
        allowed += [(np._core.multiarray._reconstruct, f"{old}._reconstruct")]  # type: ignore[attr-defined]
        allowed += [(np._core.multiarray.scalar, f"{old}.scalar")]  # type: ignore[attr-defined]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # torch's, of what is refused next
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the file holds, the answer is no
        said = str(error)
        more = "it holds objects whose loading would run code" if "weights_only" in said.lower() else "it is damaged"
        raise ValueError(f"{str(path)!r} is not loaded: {more}; only tensors and plain values are read") from error


def numbers(value: Any, what: str) -> Tensor:
    """(n,) int64 from a list, an array or a tensor of whole numbers.

    Raises:
        ValueError: it is none.

    >>> numbers([3, 1], "indices").tolist()
    [3, 1]
    """
    if isinstance(value, (list, tuple)):
        if not all(isinstance(one, (int, np.integer)) or (isinstance(one, Tensor) and one.ndim == 0) for one in value):
            raise ValueError(f"{what} is a list of whole numbers, but it holds something else")
        try:
            value = torch.tensor([int(one) for one in value], dtype=torch.int64)
        except (ValueError, RuntimeError) as error:  # 2**63 and more
            raise ValueError(f"{what} is a list of whole numbers, but it holds others") from error
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufb":
        value = torch.from_numpy(value.copy())
    if not isinstance(value, Tensor) or value.ndim != 1 or value.is_complex():
        raise ValueError(f"{what} is a list of whole numbers, not {type(value).__name__}")
    whole = value.to(torch.int64)
    if value.untyped_storage().nbytes() < value.numel() * value.element_size() or bool((whole != value).any()):
        raise ValueError(f"{what} is a list of whole numbers, but it holds others")
    return whole


def rows(value: Any, total: int, what: str) -> Tensor:
    """(n,) int64 different row numbers below ``total``, sorted.

    Raises:
        ValueError: others.
    """
    found = numbers(value, what)
    if len(found) and not 0 <= int(found.min()) <= int(found.max()) < total:
        raise ValueError(
            f"{what} names row {int(found.max())}, but the data set has {total} images: name the right one"
        )
    if len(torch.unique(found)) != len(found):
        raise ValueError(f"{what} names a row twice")
    return found.sort().values


def read_png(root: Path, parts: Sequence[str], shape: tuple[int, ...]) -> Tensor:
    """(C, H, W) uint8 of a picture below ``root``.

    Args:
        root: a folder.
        parts: of the path below it.
        shape: (C, H, W) that it must have.

    Raises:
        ValueError: it lies elsewhere, is a link, damaged, or of another shape.
    """
    from PIL import Image

    path = root.joinpath(*parts)
    inside = os.path.join(os.path.realpath(root), *parts)
    if (
        any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts)
        or os.path.realpath(path) != inside
    ):
        raise ValueError(f"{'/'.join(parts)!r} is not a file inside {str(root)!r}: it is not read")
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            raise ValueError("not a regular file")
        with Image.open(path, formats=["PNG"]) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError("too many pixels")
            pixels = np.asarray(file.convert("L" if shape[0] == 1 else "RGB"))
    except Exception as error:  # a damaged file makes Pillow raise about anything
        why = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise ValueError(f"{str(path)!r} cannot be read ({why or type(error).__name__})") from error
    image = torch.from_numpy(pixels.copy())
    image = image[None] if image.ndim == 2 else image.permute(2, 0, 1)
    if tuple(image.shape) != shape:
        raise ValueError(f"{str(path)!r} is {tuple(image.shape)}, but the data set's images are {shape}: give its size")
    return image


def aims(given: Tensor, true_label: Tensor, num_classes: int) -> dict[str, Any]:
    """What an attack's poison stands for, from its labels: ``labels`` and ``target`` of an `Attack`.

    Args:
        given: (n,) int64, labels of the poisoned images.
        true_label: (n,) int64.
        num_classes: C.

    >>> aims(torch.tensor([2, 0]), torch.tensor([1, 2]), 3)
    {'labels': 'next'}
    >>> aims(torch.tensor([2, 2]), torch.tensor([1, 2]), 3)
    {'labels': 'target', 'target': 2}
    """
    if len(given) and len(torch.unique(given)) == 1:
        return {"labels": "target", "target": int(given[0])}
    if len(given) and torch.equal(given, (true_label + 1) % num_classes):
        return {"labels": "next"}
    return {"labels": "random"}


def role_of(count: int, poison: Tensor, cover: Tensor) -> Tensor:
    """(N,) int8 from row numbers."""
    role = torch.full((count,), CLEAN, dtype=torch.int8)
    role[cover] = COVER
    role[poison] = POISON
    return role
