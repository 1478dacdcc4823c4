"""CIFAR-10."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cleanse.data.base import ImageDataModule, Images
from cleanse.data.download import fetch, not_found, why_missing


class CIFAR10(ImageDataModule):
    """Color photographs of 32x32 pixels, 10 classes: 50000 training and 10000 test images.

    Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009,
    https://www.cs.toronto.edu/~kriz/cifar.html. The files are the Python version, as torchvision keeps them, in
    ``<root>/cifar-10-batches-py``; only files with the published checksums are opened (they are pickles).

    Args:
        root: folder that has, or gets, ``cifar-10-batches-py``.
        download: fetch the files (170 MB) when they are missing or damaged.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by 4, then a horizontal flip.

    Shapes:
        images (N, 3, 32, 32).

    Raises:
        ValueError: an argument out of range; in `load`, files that are missing or damaged.
    """

    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    names: tuple[str, ...] = (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    )  # fmt: skip
    title, archive, folder = "CIFAR-10", "cifar-10-python.tar.gz", "cifar-10-batches-py"

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
        if self.download:
            fetch([lambda: self.reader()(self.root, download=True)], self._not_found)

    def load(self, train: bool) -> Images:
        """50000 or 10000 images; an id is the image's number in the order of the files."""
        try:
            files = self.reader()(self.root, train=train, download=False)
        except RuntimeError as error:  # torchvision's word for a missing file and for a wrong checksum
            raise self._not_found(f"missing or damaged; {why_missing(self.download)}") from error
        image = torch.from_numpy(files.data).permute(0, 3, 1, 2).contiguous()
        return Images(image, torch.tensor(files.targets), tuple(str(row) for row in range(len(image))))

    def reader(self) -> Any:
        """torchvision's class for these files."""
        from torchvision import datasets

        return datasets.CIFAR10

    def class_names(self) -> tuple[str, ...]:
        return self.names

    def default_augment(self) -> list[nn.Module]:
        from kornia.augmentation import RandomHorizontalFlip  # slow to import, so only when it is used

        from cleanse.augment import PadCrop

        return [PadCrop(padding=4), RandomHorizontalFlip()]

    def _not_found(self, why: str) -> ValueError:
        how = f"unpack https://www.cs.toronto.edu/~kriz/{self.archive} into {self.root}"
        return not_found(self.title, [Path(self.root, self.folder)], how, why)
