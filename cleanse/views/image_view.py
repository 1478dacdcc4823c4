"""Some rows of an image source with some labels, ready for a Trainer."""

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cleanse.engine.fingerprint import describe
from cleanse.utils.batch import Batch
from cleanse.utils.check import at_least_one
from cleanse.utils.image_spec import ImageSpec
from cleanse.views.epoch_batches import EpochBatches, GivenBatches, RowNumbers
from cleanse.views.image_source import ImageSource
from cleanse.views.pixel_hashes import groups_of


@runtime_checkable
class ChoosesRows(Protocol):
    """A module that trains on other rows in every epoch (self-paced learning)."""

    def training_rows(self, epoch: int) -> Tensor:
        """Positions in the view, int64, to train on in ``epoch`` (counted from 0)."""


@runtime_checkable
class ChoosesBatches(Protocol):
    """A module that puts its batches together itself, anew in every epoch."""

    def training_batches(self, epoch: int) -> Tensor:
        """(n, B, k) positions in the view, int64, for ``epoch`` (counted from 0); see `GivenBatches`."""


class ImageView(LightningDataModule):
    """Some rows of an image source with some labels, ready for a Trainer.

    A batch is a dictionary: ``image`` (B, C, H, W) float32 in [0, 1], ``label`` (B,) int64, ``index`` (B,) int64, the
    position in this view. The loaders move row numbers only; images are gathered, converted and augmented in batches
    on the device, in `on_after_batch_transfer`.

    Args:
        source: the images.
        rows: (n,) int64, rows of ``source``.
        label: (n,) int64, the labels given; -1 where there is none.
        augment: batched augmentations for training, float images in [0, 1] to the same.
        batch_size: over all processes.
        seed: of the shuffling; the runner sets it from the stage's key.
    """

    def __init__(
        self,
        source: ImageSource,
        rows: Tensor,
        label: Tensor,
        augment: Sequence[nn.Module] = (),
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        at_least_one(batch_size=batch_size)
        self.source, self.rows, self.label = source, rows, label
        self.augment, self.batch_size, self.seed = tuple(augment), batch_size, seed
        self.drop_last = True
        self._copies: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._augment_spec = describe(self.augment)  # now: some augmentations remember their last draw
        if len(rows) != len(label):
            raise ValueError(f"{len(rows)} rows but {len(label)} labels")
        if not len(rows):
            raise ValueError("there is no image left to train on or to predict: the verdict dropped every one")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def id(self) -> tuple[str, ...]:
        return tuple(self.source.id[i] for i in self.rows.tolist())

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def num_classes(self) -> int:
        return len(self.source.classes)

    @property
    def channels(self) -> int:
        return int(self.source.image.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the images."""
        return int(self.source.image.shape[2]), int(self.source.image.shape[3])

    @property
    def contrastive_augment(self) -> nn.Module | None:
        """What makes two views of an image of this kind for contrastive learning."""
        return self.source.contrastive_augment

    @property
    def mean(self) -> tuple[float, ...]:
        return self.source.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.source.std

    @property
    def image_spec(self) -> ImageSpec:
        """Channels, number of classes, mean, standard deviation and size of the images, in one value."""
        return ImageSpec(self.channels, self.num_classes, self.mean, self.std, self.size)

    def spec(self) -> dict[str, Any]:
        """All that decides what comes out of this view, as plain values; part of every cache key."""
        return {
            "source": self.source.spec,
            "rows": describe(self.rows),
            "label": describe(self.label),
            "augment": self._augment_spec,
            "batch_size": self.batch_size,
            "drop_last": self.drop_last,
        }

    def images(self, position: Tensor) -> Tensor:
        """(B,) positions in this view to (B, C, H, W) uint8 images, on the CPU."""
        return self.source.read(self.rows[position])

    @property
    def duplicate_group(self) -> Tensor:
        """(n,) int64: for each image the position of the first one that is the same in every pixel.

        A vote that goes over its distinct values counts copies of an image once.
        """
        hashes = self.source.hashes
        return groups_of([hashes[row] for row in self.rows.tolist()])

    def at_size(self, size: int) -> Self:
        """The same rows and labels, of images of size x size pixels, for an encoder that wants that.

        A folder's images are read from their files again, those of a tensor are scaled; both when a batch is asked for,
        so that the memory does not depend on the number of images. The view's description, and so its key, is its own.
        """
        resized = self._like(self.rows, self.label)
        resized.source = self.source.resized(size)
        return resized

    # --- Lightning ---
    def train_dataloader(self) -> DataLoader[Tensor]:
        trainer, rows, epoch = self.trainer, torch.arange(len(self)), 0
        if trainer is not None:
            epoch = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
            if isinstance(trainer.lightning_module, ChoosesBatches):
                return self._loader(GivenBatches(trainer.lightning_module.training_batches(epoch), *self._place()))
            if isinstance(trainer.lightning_module, ChoosesRows):
                rows = trainer.lightning_module.training_rows(epoch)
        return self._loader(EpochBatches(rows, self.batch_size, self.seed, self.drop_last, *self._place(), epoch=epoch))

    def predict_dataloader(self) -> DataLoader[Tensor]:
        """Every row once, in order; several processes take turns."""
        batch = max(self.batch_size, 512)
        return self._loader(EpochBatches(torch.arange(len(self)), batch, None, False, *self._place()))

    def test_dataloader(self) -> DataLoader[Tensor]:
        return self.predict_dataloader()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        trainer = self.trainer
        return self.batch(batch, augmented=trainer is not None and trainer.training)

    def batch(self, position: Tensor, augmented: bool) -> Batch:
        """The batch of these positions, on the device where ``position`` is."""
        rows, label = self._on(position.device)
        image = self.source.read(rows[position]).float().div_(255)
        if image.shape[1] > 1:
            image = image.contiguous(memory_format=torch.channels_last)
        if augmented:
            for transform in self.augment:
                image = transform(image)
            if image.shape[1] > 1:  # Kornia's answers are contiguous
                image = image.contiguous(memory_format=torch.channels_last)
        return {"image": image, "label": label[position], "index": position}

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows and labels on ``device``; copied there at the first call and kept."""
        if device.type == "cpu":
            return self.rows, self.label
        if device not in self._copies:
            self._copies[device] = self.rows.to(device), self.label.to(device)
        return self._copies[device]

    def _loader(self, batches: EpochBatches | GivenBatches) -> DataLoader[Tensor]:
        # a generator of its own: an iterator draws a seed when it is made, and a resumed epoch makes one iterator less
        return DataLoader(RowNumbers(), batch_size=None, sampler=batches, generator=torch.Generator())

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _like(self, rows: Tensor, label: Tensor, batch_size: int | None = None) -> Self:
        size = self.batch_size if batch_size is None else batch_size
        return type(self)(self.source, rows, label, self.augment, size, self.seed)
