"""The idx files of MNIST and its relatives, plain or gzipped."""

import gzip
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Tensor
from torchvision.datasets.mnist import read_image_file, read_label_file

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


def load_idx(folder: Path, train: bool) -> Images:
    """The training or test part in a folder that `find_idx` found; an id is the image's number.

    Returns:
        images (N, 1, H, W) uint8.

    Raises:
        ValueError: a damaged file, or another number of labels than of images.
    """
    path = {kind: folder / f"{PARTS[train]}-{name}" for kind, name in KINDS.items()}
    path = {kind: plain if plain.is_file() else plain.with_name(f"{plain.name}.gz") for kind, plain in path.items()}
    image, label = _read(path["images"], read_image_file), _read(path["labels"], read_label_file)
    if len(image) != len(label):
        raise ValueError(f"{path['images']} has {len(image)} images but {path['labels']} {len(label)} labels")
    return Images(image[:, None].contiguous(), label, tuple(str(row) for row in range(len(image))))


def _read(path: Path, read: Callable[[str], Tensor]) -> Tensor:
    """What torchvision reads; it takes plain files only."""
    try:
        if path.suffix != ".gz":
            return read(str(path))
        with tempfile.NamedTemporaryFile() as plain, gzip.open(path) as packed:
            shutil.copyfileobj(packed, plain)
            plain.flush()
            return read(plain.name)
    except Exception as error:  # torchvision asserts what it expects; a cut archive raises about anything
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is cut or no idx file ({why}): delete it and get it again") from error
