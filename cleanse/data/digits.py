"""The handwritten digits that scikit-learn carries: a data set that is always there."""

import torch
from torch import nn

from cleanse.augment import SimCLRAugment
from cleanse.data.base import ImageDataModule, Images, stratified_subset

TRAIN_IMAGES = 1400


class Digits(ImageDataModule):
    """Handwritten digits in 8x8 gray levels, 10 classes: 1400 training and 397 test images.

    Optical Recognition of Handwritten Digits, UCI, 1998, https://archive.ics.uci.edu/dataset/80, the part that
    `sklearn.datasets.load_digits` embeds. Needs no file and no network.

    * scikit-learn has no test part: a stratified draw that never changes makes one.
    * Values 0 to 16 become 0 to 255, ``round(v * 255 / 16)``.

    Args:
        kwargs: see `ImageDataModule`; without ``augment``, a crop after padding by 1, without flips.

    Shapes:
        images (N, 1, 8, 8).

    Raises:
        ValueError: an argument out of range.

    >>> Digits().load(train=False).image.shape
    torch.Size([397, 1, 8, 8])
    """

    mean = (0.3049,)
    std = (0.3757,)

    def load(self, train: bool) -> Images:
        """1400 or 397 images; an id is the row in scikit-learn's table."""
        from sklearn.datasets import load_digits

        table = load_digits()
        label = torch.from_numpy(table.target).long()
        chosen = torch.zeros(len(label), dtype=torch.bool)
        chosen[stratified_subset(label, TRAIN_IMAGES, seed=0)] = True
        rows = (chosen if train else ~chosen).nonzero().flatten()
        image = (torch.from_numpy(table.images[rows.numpy()]) * 255 / 16).round().to(torch.uint8)
        return Images(image[:, None], label[rows], tuple(str(row) for row in rows.tolist()))

    def class_names(self) -> tuple[str, ...]:
        return tuple(str(digit) for digit in range(10))

    def contrastive_augment(self) -> nn.Module:
        """A crop and a small rotation: a mirrored digit is none, and there is no color (D25)."""
        return SimCLRAugment(flip=0, rotation=10, jitter=0, gray=0)

    def default_augment(self) -> list[nn.Module]:
        from cleanse.augment import PadCrop

        return [PadCrop(padding=1)]
