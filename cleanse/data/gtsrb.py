"""The German Traffic Sign Recognition Benchmark."""

import csv
import os
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cleanse.augment import SimCLRAugment
from cleanse.data.base import ImageDataModule, Images
from cleanse.data.decode import decode_files
from cleanse.data.download import fetch, not_found, why_missing
from cleanse.utils.check import side_of_images

CLASSES = (
    *("speed limit 20", "speed limit 30", "speed limit 50", "speed limit 60", "speed limit 70", "speed limit 80"),
    *("end of speed limit 80", "speed limit 100", "speed limit 120", "no passing", "no passing for trucks"),
    *("right of way at the next intersection", "priority road", "yield", "stop", "no vehicles", "no trucks"),
    *("no entry", "general caution", "curve to the left", "curve to the right", "double curve", "bumpy road"),
    *("slippery road", "road narrows on the right", "road work", "traffic signals", "pedestrians", "children crossing"),
    *("bicycles crossing", "ice or snow", "wild animals crossing", "end of all limits", "turn right ahead"),
    *("turn left ahead", "ahead only", "straight or right", "straight or left", "keep right", "keep left"),
    *("roundabout", "end of no passing", "end of no passing for trucks"),
)


class GTSRB(ImageDataModule):
    """Photographs of traffic signs, 43 classes of very different sizes: 26640 training and 12630 test images.

    Stallkamp, Schlipsing, Salmen, Igel, "Man vs. computer: Benchmarking machine learning algorithms for traffic sign
    recognition", 2012, https://benchmark.ini.rub.de. The files are as torchvision keeps them: ``<root>/gtsrb`` with
    ``GTSRB/Training/<class>/*.ppm``, ``GTSRB/Final_Test/Images/*.ppm`` and ``GT-final_test.csv``.

    * Images have 15 to 250 pixels a side and are squeezed into a square, bilinear with antialiasing.
    * mean and std depend on ``size`` and are computed from the training images.

    Args:
        root: folder that has, or gets, ``gtsrb``.
        size: side of the images in pixels after resizing; 48 is the input of MicronNet (D21).
        download: fetch the files (280 MB) when they are missing.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by size / 8; no flip, since a mirrored
            sign is another sign.

    Shapes:
        images (N, 3, size, size).

    Raises:
        ValueError: an argument out of range; in `load`, files that are missing or cannot be used.
    """

    def __init__(
        self,
        root: str = "data",
        size: int = 48,
        download: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        side_of_images(size)
        self.root, self.size, self.download = os.path.expanduser(root), size, download

    def prepare_data(self) -> None:
        """Download if need be; on one process only."""
        from torchvision import datasets

        if self.download:
            parts = [partial(datasets.GTSRB, self.root, split, download=True) for split in ("train", "test")]
            fetch(parts, self._not_found)

    def load(self, train: bool) -> Images:
        """The images that can be read; an id is the path below ``gtsrb``."""
        files = self._train_files() if train else self._test_files()
        decoded = decode_files([str(self._base / name) for name, _ in files], self.size, crop=False)
        image, why = decoded.image, decoded.why
        unreadable = tuple((*files[i], why[i]) for i in why)
        kept = [i for i in range(len(files)) if i not in why]
        if not kept:
            raise ValueError(f"none of the {len(files)} images in {self._base} can be read ({files[0][0]}: {why[0]})")
        label = torch.tensor([files[i][1] for i in kept])
        return Images(image[kept] if why else image, label, tuple(files[i][0] for i in kept), unreadable)

    def class_names(self) -> tuple[str, ...]:
        return CLASSES

    def default_augment(self) -> list[nn.Module]:
        from cleanse.augment import PadCrop

        return [PadCrop(padding=max(1, self.size // 8))]

    def contrastive_augment(self) -> nn.Module:
        """SimCLR's without the flip: a mirrored sign is another one."""
        return SimCLRAugment(flip=0)

    @property
    def _base(self) -> Path:
        return Path(self.root, "gtsrb")

    def _train_files(self) -> list[tuple[str, int]]:
        files: list[tuple[str, int]] = []
        folder = self._base / "GTSRB" / "Training"
        if not folder.is_dir():
            raise self._not_found(why_missing(self.download))
        for label, name in enumerate(CLASSES):
            found = sorted((folder / f"{label:05d}").glob("*.ppm"))
            if not found:
                raise ValueError(
                    f"{folder / f'{label:05d}'} (class {name!r}) has no image: delete {self._base} and get it again"
                )
            files += [(path.relative_to(self._base).as_posix(), label) for path in found]
        return files

    def _test_files(self) -> list[tuple[str, int]]:
        table = self._base / "GT-final_test.csv"
        if not table.is_file() or not (self._base / "GTSRB" / "Final_Test" / "Images").is_dir():
            raise self._not_found(why_missing(self.download))
        try:
            with table.open(newline="") as rows:
                reader = csv.DictReader(rows, delimiter=";", skipinitialspace=True)
                return [(f"GTSRB/Final_Test/Images/{row['Filename']}", int(row["ClassId"])) for row in reader]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{table} is no table with Filename and ClassId: delete it and get it again") from error

    def _not_found(self, why: str) -> ValueError:
        page = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/published-archive.html"
        files = "GTSRB-Training_fixed.zip, GTSRB_Final_Test_Images.zip and GTSRB_Final_Test_GT.zip"
        return not_found("GTSRB", [self._base], f"unpack {files} of {page} into {self._base}", why)
