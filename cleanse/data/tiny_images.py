"""500,000 tiny images without human labels, which Carmon et al. chose to go with CIFAR-10."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cleanse.data.base import ImageDataModule, Images
from cleanse.data.cifar10 import CIFAR10
from cleanse.utils.files import atomic_write

log = logging.getLogger("cleanse")

FILE = "ti_500K_pseudo_labeled.pickle"
CONVERTED = ("ti_500K_images.npy", "ti_500K_pseudo_labels.npy")


class TinyImages500K(ImageDataModule):
    """Color photographs of 32x32 pixels from 80 Million Tiny Images, with the pseudo-labels that were released.

    Carmon, Raghunathan, Schmidt, Liang, Duchi, "Unlabeled Data Improves Adversarial Robustness", NeurIPS 2019,
    https://github.com/yaircarmon/semisup-adv. Their file is a pickle of a dictionary with ``data``, (N, 32, 32, 3)
    uint8, and ``extrapolated_targets``, N classes of CIFAR-10. A pickle can run any program when it is opened, so this
    one is converted once, by a reader that builds arrays and nothing else, into two ``.npy`` files beside it
    (`convert`); the images are then used where they lie in the file.

    There is no test part: it is the pool of a `WithPool`, where nobody is given the pseudo-labels. They stand in for
    the true labels (D27).

    Args:
        root: folder that has ``ti_500K_pseudo_labeled.pickle``; it is not downloaded.
        kwargs: see `ImageDataModule`; without ``augment``, CIFAR-10's.

    Shapes:
        images (N, 3, 32, 32).

    Raises:
        ValueError: an argument out of range; in `load`, a file that is missing or has another layout, or the test part.
    """

    mean, std = CIFAR10.mean, CIFAR10.std

    def __init__(
        self,
        root: str = "data",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root = os.path.expanduser(root)

    def prepare_data(self) -> None:
        """Convert the pickle if that has not been done; on one process only."""
        self._converted()

    def load(self, train: bool) -> Images:
        """All images, where they lie in the file (not contiguous); an id is the image's number there."""
        if not train:
            raise ValueError("TinyImages500K has no test part: use it as the pool of cleanse.data.WithPool")
        images, labels = self._converted()
        try:
            data = np.load(images, mmap_mode="c", allow_pickle=False)
            label = np.load(labels, allow_pickle=False)
            _check(data, label)
        except Exception as error:  # a damaged file can go wrong in any way
            raise ValueError(f"{images} or {labels} is damaged ({_words(error)}): delete both") from error
        image = torch.from_numpy(data).permute(0, 3, 1, 2)
        return Images(image, torch.from_numpy(label), tuple(map(str, range(len(image)))))

    def has_test(self) -> bool:
        return False

    def class_names(self) -> tuple[str, ...]:
        return CIFAR10.names

    def default_augment(self) -> list[nn.Module]:
        return CIFAR10().default_augment()

    def _converted(self) -> tuple[Path, Path]:
        """The two files, made from the pickle if need be."""
        path = Path(self.root, FILE)
        images, labels = (Path(self.root, name) for name in CONVERTED)
        if images.is_file() and labels.is_file():
            return images, labels
        if not path.is_file():
            raise ValueError(
                f"TinyImages500K was not found: there is no {path}: set root to the folder that has it, or get it from "
                "https://github.com/yaircarmon/semisup-adv (500K unlabeled data)"
            )
        log.info("converting %s once into %s and %s", path, images.name, labels.name)
        convert(path, images, labels)
        return images, labels


def convert(path: Path, images: Path, labels: Path) -> None:
    """Write the arrays of Carmon et al.'s pickle into two ``.npy`` files, running nothing that the pickle names.

    Takes three times the size of the images in memory, once.

    Raises:
        ValueError: the pickle is damaged, or holds something else; or the files cannot be written.
    """
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="latin1").load()
        data = np.ascontiguousarray(content["data"])
        label = np.asarray(content["extrapolated_targets"], dtype=np.int64)
        _check(data, label)
    except Exception as error:  # a pickle can go wrong in any way
        raise ValueError(
            f"{path} is damaged or not Carmon et al.'s file, a dictionary with data, (N, 32, 32, 3) uint8, and "
            f"extrapolated_targets: {_words(error)}"
        ) from error
    try:
        for place, array in ((images, data), (labels, label)):
            with atomic_write(place, "wb") as out:
                np.save(out, array, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"{path} cannot be converted beside itself ({error.strerror}): make room there") from error


class _ArraysOnly(pickle.Unpickler):
    """Builds plain values and NumPy arrays; knows the functions that NumPy's arrays are made by, and no other."""

    known = frozenset(
        {
            *("numpy.ndarray", "numpy.dtype", "_codecs.encode"),
            *("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
            *("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.known:
            raise ValueError(f"it names {module}.{name}, which has no place in a file of images")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def _check(data: Any, label: Any) -> None:
    if data.dtype != np.uint8 or data.shape[1:] != (32, 32, 3) or label.shape != data.shape[:1]:
        raise ValueError(f"data is {data.dtype} {data.shape}, extrapolated_targets {label.shape}")


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
