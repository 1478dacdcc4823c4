"""Fashion-MNIST."""

from pathlib import Path

from torch import nn

from cleanse.augment import SimCLRAugment
from cleanse.data.download import not_found
from cleanse.data.mnist import MNIST

DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


class FashionMNIST(MNIST):
    """Articles of clothing in 28x28 gray levels, 10 classes: 60000 training and 10000 test images.

    Xiao, Rasul, Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", 2017,
    https://arxiv.org/abs/1708.07747. The four idx files, plain or gzipped, are looked for in
    ``<root>/FashionMNIST/raw`` (torchvision's place), then in ``<root>``, then where Debian's package
    ``dataset-fashion-mnist`` puts them.

    Args:
        root: folder that has, or gets, the files.
        download: fetch the files (31 MB) when they are missing.
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by 2, then a horizontal flip.

    Shapes:
        images (N, 1, 28, 28).

    Raises:
        ValueError: an argument out of range; in `load`, files that are missing or damaged.
    """

    source = "FashionMNIST"
    mean = (0.2860,)
    std = (0.3530,)

    def class_names(self) -> tuple[str, ...]:
        return (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        )

    def default_augment(self) -> list[nn.Module]:
        from kornia.augmentation import RandomHorizontalFlip  # slow to import, so only when it is used

        from cleanse.augment import PadCrop

        return [PadCrop(padding=2), RandomHorizontalFlip()]

    def contrastive_augment(self) -> nn.Module:
        """SimCLR's, without what colors would be needed for."""
        return SimCLRAugment(saturation=0, hue=0, gray=0)

    def _folders(self) -> list[Path]:
        return [*super()._folders(), DEBIAN]

    def _not_found(self, why: str) -> ValueError:
        folders = self._folders()
        how = f"put the four files of https://github.com/zalandoresearch/fashion-mnist into {folders[0]}"
        return not_found("Fashion-MNIST", folders, how, why)
