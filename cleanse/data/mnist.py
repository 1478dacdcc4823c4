"""MNIST."""

import os
from pathlib import Path
from typing import Any

from torch import nn

from cleanse.augment import SimCLRAugment
from cleanse.data.base import ImageDataModule, Images
from cleanse.data.download import fetch, not_found, why_missing
from cleanse.data.idx import find_idx, load_idx


class MNIST(ImageDataModule):
    """Handwritten digits in 28x28 gray levels, 10 classes: 60000 training and 10000 test images.

    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998, http://yann.lecun.com/exdb/mnist. The four
    idx files, plain or gzipped, are looked for in ``<root>/MNIST/raw`` (torchvision's place), then in ``<root>``.

    Args:
        root: folder that has, or gets, the files.
        download: fetch the files (12 MB) when they are missing.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by 2, without flips.

    Shapes:
        images (N, 1, 28, 28).

    Raises:
        ValueError: an argument out of range; in `load`, files that are missing or damaged.
    """

    source = "MNIST"
    """torchvision's class, and the folder that it reads."""
    mean = (0.1307,)
    std = (0.3081,)

    def __init__(
        self,
        root: str = "data",
        download: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.root, self.download = os.path.expanduser(root), download

    def prepare_data(self) -> None:
        """Download if need be; on one process only."""
        from torchvision import datasets

        if self.download and find_idx(self._folders()) is None:
            fetch([lambda: getattr(datasets, self.source)(self.root, download=True)], self._not_found)

    def load(self, train: bool) -> Images:
        """60000 or 10000 images; an id is the image's number in its file."""
        folder = find_idx(self._folders())
        if folder is None:
            raise self._not_found(why_missing(self.download))
        return load_idx(folder, train)

    def class_names(self) -> tuple[str, ...]:
        return tuple(str(digit) for digit in range(10))

    def default_augment(self) -> list[nn.Module]:
        from cleanse.augment import PadCrop

        return [PadCrop(padding=2)]

    def contrastive_augment(self) -> nn.Module:
        """A crop and a small rotation: a mirrored digit is none, and there is no color (D25)."""
        return SimCLRAugment(flip=0, rotation=10, jitter=0, gray=0)

    def _folders(self) -> list[Path]:
        return [Path(self.root, self.source, "raw"), Path(self.root)]

    def _not_found(self, why: str) -> ValueError:
        folders = self._folders()
        how = f"put the four files of https://ossci-datasets.s3.amazonaws.com/mnist into {folders[0]}"
        return not_found("MNIST", folders, how, why)
