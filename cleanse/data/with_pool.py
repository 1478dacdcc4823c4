"""A data set and, beside it, a pool of images that nobody has labeled."""

from typing import Any

import torch
from torch import nn

from cleanse.data.base import ImageDataModule, Images


class WithPool(ImageDataModule):
    """The training images of one data set, labeled, and those of another one without their labels.

    Pal et al. 2023 add 500,000 tiny images to CIFAR-10 (`TinyImages500K`); any data module with images of the same size
    and channels can be the pool. Classes and test images are those of the first. The defender is given no label of the
    pool. Where both have the same classes, the pool's labels count as the true ones, which an attack on one class and
    the evaluation need; otherwise they are unknown, and every image of the pool is one of no class.

    Args:
        images: the labeled data set, without an attack of its own.
        pool: the images without labels, without an attack of its own; its test part is not used.
        kwargs: see `ImageDataModule`. The attack poisons both parts; its ``unlabeled_rate`` is about the pool, and what
            else is unlabeled. ``limit_train`` counts both together, ``labeled`` is a fraction of ``images``, and
            without ``augment`` it is that of ``images``.

    Raises:
        ValueError: an argument out of range, an attack in the wrong place; in `load`, images of different shapes.
    """

    fresh = True

    def __init__(
        self,
        images: ImageDataModule,
        pool: ImageDataModule,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, part in (("images", images), ("pool", pool)):
            own = (part.attack, part.labeled, part.reserve_clean)
            if any(value is not None for value in own) or isinstance(part, WithPool):
                raise ValueError(
                    f"{name} has an attack, a labeled fraction, reserved images or a pool of its own: only WithPool has"
                    " one"
                )
        self.images, self.pool = images, pool
        self.mean, self.std = images.mean, images.std

    def prepare_data(self) -> None:
        """Download if need be; on one process only."""
        for part in (self.images, self.pool):
            part.prepare_data()

    def load(self, train: bool) -> Images:
        """The images of both, the pool last and with ``pool/`` before its ids; or the test part of the first."""
        if not train:
            return self.images.load(train=False)
        first, second = self.images.chosen(), self.pool.chosen()
        if first.image.shape[1:] != second.image.shape[1:]:
            shapes = f"{tuple(second.image.shape[1:])} and {tuple(first.image.shape[1:])}"
            raise ValueError(f"the pool's images and the data's are {shapes} (channels, height, width): use the same")
        known = self.pool.class_names() == self.images.class_names()
        labeled = torch.arange(len(first.label) + len(second.label)) < len(first.label)
        return Images(
            torch.cat([first.image, second.image]),
            torch.cat([first.label, second.label if known else torch.full_like(second.label, -1)]),
            first.id + tuple(f"pool/{id}" for id in second.id),
            first.unreadable + tuple((f"pool/{id}", -1, why) for id, _, why in second.unreadable),
            labeled,
        )

    def has_test(self) -> bool:
        return self.images.has_test()

    def class_names(self) -> tuple[str, ...]:
        return self.images.class_names()

    def default_augment(self) -> list[nn.Module]:
        return self.images.default_augment()

    def contrastive_augment(self) -> nn.Module:
        return self.images.contrastive_augment()
