"""The idx files of MNIST and its relatives, plain or gzipped."""

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from cleanse.data.base import Images

PARTS = {True: "train", False: "t10k"}
KINDS = {"images": "images-idx3-ubyte", "labels": "labels-idx1-ubyte"}


def find_idx(folders: Sequence[Path]) -> Path | None:
    """The first of ``folders`` that has all four files, or None."""
    names = [f"{part}-{kind}" for part in PARTS.values() for kind in KINDS.values()]
    for folder in folders:
        if all((folder / name).is_file() or (folder / f"{name}.gz").is_file() for name in names):
            return folder
    return None


def read_idx(path: Path) -> Tensor:
    """The bytes of an idx file (http://yann.lecun.com/exdb/mnist) in its own shape, uint8.

    Raises:
        ValueError: the file is cut, or it is not an idx file of bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be read ({error}): delete it and get it again") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise ValueError(f"{path} is not an idx file of bytes: delete it and get it again")
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[place : place + 4], "big") for place in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} has {len(content) - start} values but says {shape}: delete it and get it again")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[start:].view(shape)


def load_idx(folder: Path, train: bool) -> Images:
    """The training or test part in a folder that `find_idx` found; an id is the image's number.

    Returns:
        images (N, 1, H, W) uint8.

    Raises:
        ValueError: a damaged file, or another number of labels than of images.
    """
    path = {kind: folder / f"{PARTS[train]}-{name}" for kind, name in KINDS.items()}
    path = {kind: plain if plain.is_file() else plain.with_name(f"{plain.name}.gz") for kind, plain in path.items()}
    image, label = read_idx(path["images"]), read_idx(path["labels"])
    if image.ndim != 3 or label.ndim != 1:
        shapes = f"images {tuple(image.shape)} and labels {tuple(label.shape)}"
        raise ValueError(f"{folder} has {shapes}, not (N, H, W) and (N,): delete them and get them again")
    if len(image) != len(label):
        raise ValueError(f"{path['images']} has {len(image)} images but {path['labels']} {len(label)} labels")
    return Images(image[:, None].contiguous(), label.long(), tuple(str(row) for row in range(len(image))))
