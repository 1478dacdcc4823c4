"""500,000 tiny images without human labels, which Carmon et al. chose to go with CIFAR-10."""

import mmap
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cleanse.attacks.base import Attack
from cleanse.data.base import ImageDataModule, Images
from cleanse.data.cifar10 import CIFAR10

FILE = "ti_500K_pseudo_labeled.pickle"


class TinyImages500K(ImageDataModule):
    """Color photographs of 32x32 pixels from 80 Million Tiny Images, with the pseudo-labels that were released.

    Carmon, Raghunathan, Schmidt, Liang, Duchi, "Unlabeled Data Improves Adversarial Robustness", NeurIPS 2019,
    https://github.com/yaircarmon/semisup-adv. Their file is a pickle of a dictionary with ``data``, (N, 32, 32, 3)
    uint8, and ``extrapolated_targets``, N classes of CIFAR-10. A pickle can run any program when it is opened; this one
    is read without calling anything that it names.

    There is no test part: it is the pool of a `WithPool`, where nobody is given the pseudo-labels. They stand in for
    the true labels (SPEC B.3.18).

    Args:
        root: folder that has ``ti_500K_pseudo_labeled.pickle``; it is not downloaded.
        attack: poisons the training set; None leaves it clean.
        batch_size: over all processes together.
        augment: batched training augmentations; None for CIFAR-10's.
        limit_train: use a stratified subset of this many images.
        limit_test: of no use.
        labeled: fraction of the images whose pseudo-label is given; None for all.
        seed: of the subset and of the attack; None for the run's seed.

    Shapes:
        images (N, 3, 32, 32).

    Raises:
        ValueError: an argument out of range; in `load`, a file that is missing or has another layout, or the test part.
    """

    mean, std = CIFAR10.mean, CIFAR10.std

    def __init__(
        self,
        root: str = "data",
        attack: Attack | None = None,
        batch_size: int = 128,
        augment: list[nn.Module] | None = None,
        limit_train: int | None = None,
        limit_test: int | None = None,
        labeled: float | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(attack, batch_size, augment, limit_train, limit_test, labeled, seed)
        self.root = os.path.expanduser(root)

    def load(self, train: bool) -> Images:
        """All images, where they lie in the file (not contiguous); an id is the image's number there."""
        if not train:
            raise ValueError("TinyImages500K has no test part: use it as the pool of cleanse.data.WithPool")
        path = Path(self.root, FILE)
        if not path.is_file():
            raise ValueError(
                f"TinyImages500K was not found: there is no {path}: set root to the folder that has it, or get it from "
                "https://github.com/yaircarmon/semisup-adv (500K unlabeled data)"
            )
        try:
            content = read_arrays(path)
            data, label = content["data"], np.asarray(content["extrapolated_targets"], dtype=np.int64)
            if data.dtype != np.uint8 or data.shape[1:] != (32, 32, 3) or label.shape != data.shape[:1]:
                raise ValueError(f"data is {data.dtype} {data.shape}, extrapolated_targets {label.shape}")
        except Exception as error:  # a pickle can go wrong in any way
            raise ValueError(
                f"{path} is damaged or not Carmon et al.'s file, a dictionary with data, (N, 32, 32, 3) uint8, and "
                f"extrapolated_targets: {' '.join(str(error).split())}"
            ) from error
        image = torch.from_numpy(data).permute(0, 3, 1, 2)
        return Images(image, torch.from_numpy(label.copy()), tuple(map(str, range(len(image)))))

    def class_names(self) -> tuple[str, ...]:
        return CIFAR10.names

    def default_augment(self) -> list[nn.Module]:
        return CIFAR10().default_augment()


def read_arrays(path: Path) -> Any:
    """What a pickle holds of plain values and NumPy arrays, without importing or calling anything that it names.

    Raises:
        ValueError: it holds something else.
        Exception: whatever else a damaged pickle leads to.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return _resolve(_Reader(_Mapped(content), encoding="latin1").load())


class _Mapped:
    """A file that is read without being copied: what is long is handed out where it lies, as a memoryview.

    1.5 GB of images then take no memory that the system cannot have back; what is written into them is the process's.
    """

    LONG = 2**20

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content

    def read(self, size: int = -1) -> Any:
        begin = self.content.tell()
        if size < self.LONG:
            return self.content.read(size)
        self.content.seek(min(begin + size, len(self.content)))
        return memoryview(self.content)[begin : begin + size]

    def readline(self) -> bytes:
        return self.content.readline()


class _Type:
    """Stands for a NumPy type while a pickle is read."""

    def __init__(self, name: str, *_: object) -> None:
        if name not in ("u1", "i1", "i2", "i4", "i8", "|u1"):
            raise ValueError(f"an array of {name!r}, not of whole numbers")
        self.made = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.made = self.made.newbyteorder("<" if state[1] == "|" else state[1])


class _Array:
    """Stands for a NumPy array while a pickle is read; the pickle may say what is in it and nothing else."""

    def __init__(self, *_: object) -> None:
        self.made = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        self.made = np.frombuffer(content, kind.made).reshape(shape, order="F" if fortran else "C")


def _from_buffer(content: bytes, kind: _Type, shape: tuple[int, ...], order: str) -> _Array:
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", content))
    return array


def _encode(text: str, coding: str) -> bytes:
    return text.encode("latin1")


class _Reader(pickle._Unpickler):
    """Knows the names that NumPy's arrays go by, in all its versions, and no other.

    It is the unpickler that is written in Python: the one in C copies all that it reads.
    """

    def find_class(self, module: str, name: str) -> Any:
        stand_ins = {
            "numpy.ndarray": _Array, "numpy.dtype": _Type, "multiarray._reconstruct": _Array,
            "numeric._frombuffer": _from_buffer, "_codecs.encode": _encode,
        }  # fmt: skip
        known = f"{module.removeprefix('numpy.core.').removeprefix('numpy._core.')}.{name}"
        if known not in stand_ins:
            raise ValueError(f"it names {module}.{name}, which has no place in a file of images")
        return stand_ins[known]


def _resolve(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _resolve(v) for k, v in value.items()}
    return value.made if isinstance(value, _Array) else value
