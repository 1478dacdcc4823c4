"""What a recipe and a trainer see of a data set: images, given labels and nothing that a defender would not have."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from cleanse.batch import Batch
from cleanse.describe import describe
from cleanse.verdict import Verdict


@runtime_checkable
class ChoosesRows(Protocol):
    """A module that trains on other rows in every epoch (self-paced learning)."""

    def training_rows(self, epoch: int) -> Tensor:
        """Positions in the view, int64, to train on in ``epoch`` (counted from 0)."""


@dataclass(frozen=True)
class ImageSource:
    """The images of a data set, at rest: one uint8 tensor that all views share.

    It is copied to a device once, or, if it is too large for that, stays in its file and is read batch by batch.

    Attributes:
        image: (N, C, H, W) uint8.
        id: a file path or an index for each image.
        classes: class names.
        mean, std: per channel, of images in [0, 1].
        spec: what the images were made from, as plain values (no truth in it that is not in a hash).
        contrastive_augment: makes two views of an image of this kind for contrastive learning; no part of ``spec``,
            since only the modules that use it are decided by it.
        stream: the images are in a file (`cleanse.data.mapped`); no part of ``spec`` either.
    """

    image: Tensor
    id: tuple[str, ...]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    spec: Any
    contrastive_augment: nn.Module | None = None
    stream: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "_copies", {})

    def read(self, rows: Tensor) -> Tensor:
        """(B, C, H, W) uint8 images of ``rows`` (B,), on the device where ``rows`` is."""
        if self.stream and rows.device.type != "cpu":
            return self.image[rows.cpu()].pin_memory().to(rows.device, non_blocking=True)
        return self.on(rows.device)[rows]

    def on(self, device: torch.device) -> Tensor:
        """The images on ``device``; copied there at the first call and kept."""
        if device.type == "cpu":
            return self.image
        copies: dict[torch.device, Tensor] = self._copies  # type: ignore[attr-defined]
        if device not in copies:
            copies[device] = self.image.to(device)
        return copies[device]


class _Rows(Dataset[Tensor]):
    """Hands an index back: the images are already where they are needed."""

    def __getitem__(self, rows: Any) -> Tensor:
        return rows if isinstance(rows, Tensor) else torch.as_tensor(rows)


class EpochBatches(Sampler[Tensor]):
    """Batches of row numbers: the same global order whatever the number of processes, of which each takes its part.

    Args:
        rows: (n,) int64, the rows to go through.
        batch_size: over all processes.
        seed: shuffles, anew in every epoch; None keeps the order.
        drop_last: leave a smaller last batch out, unless it is the only one (SPEC A-T12).
        rank, world: this process and how many there are.
        epoch: where to begin; Lightning then calls `set_epoch`.
    """

    def __init__(
        self, rows: Tensor, batch_size: int, seed: int | None, drop_last: bool, rank: int, world: int, epoch: int = 0
    ) -> None:
        self.rows, self.batch_size, self.seed, self.epoch = rows, batch_size, seed, epoch
        self.rank, self.world = rank, world
        full, rest = divmod(len(rows), batch_size)
        self.batches = full if full and drop_last else full + bool(rest)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Tensor]:
        order = self.rows
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 % 2**62 + self.epoch)
            order = order[torch.randperm(len(order), generator=generator)]
        for i in range(self.batches):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            if self.seed is not None and len(batch) < self.world:  # every process needs a row to train on
                batch = batch.repeat(self.world)[: self.world]
            yield batch[self.rank :: self.world]


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
        self.source, self.rows, self.label = source, rows, label
        self.augment, self.batch_size, self.seed = tuple(augment), batch_size, seed
        self.drop_last = True
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
        return self.source.image[self.rows[position]]

    # --- Lightning ---
    def train_dataloader(self) -> DataLoader[Tensor]:
        trainer, rows, epoch = self.trainer, torch.arange(len(self)), 0
        if trainer is not None:
            epoch = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
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
        device = position.device
        image = self.source.read(self.rows.to(device)[position]).float().div_(255)
        if image.shape[1] > 1:
            image = image.contiguous(memory_format=torch.channels_last)
        if augmented:
            for transform in self.augment:
                image = transform(image)
        return {"image": image, "label": self.label.to(device)[position], "index": position}

    def _loader(self, batches: EpochBatches) -> DataLoader[Tensor]:
        # a generator of its own: an iterator draws a seed when it is made, and a resumed epoch makes one iterator less
        return DataLoader(_Rows(), batch_size=None, sampler=batches, generator=torch.Generator())

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def _like(self, rows: Tensor, label: Tensor, batch_size: int | None = None) -> Self:
        return type(self)(self.source, rows, label, self.augment, batch_size or self.batch_size, self.seed)


class TrainingView(ImageView):
    """A training set as the defender gets it (DESIGN section 2).

    The poisoned rows, the true labels, the target class, the poison rate, the trigger and the test set cannot be
    reached from here.
    """

    @property
    def labeled(self) -> Tensor:
        """(n,) bool: where a label is given."""
        return self.label >= 0

    def unlabeled(self) -> Self:
        """The same images without any label."""
        return self._like(self.rows, torch.full_like(self.label, -1))

    def subset(self, mask: Tensor) -> Self:
        """The rows where ``mask`` (n,) bool is true."""
        return self._like(self.rows[mask], self.label[mask])

    def with_labels(self, label: Tensor) -> Self:
        """The same images with other labels (n,) int64."""
        return self._like(self.rows, label)

    def with_verdict(self, verdict: Verdict) -> Self:
        """What a verdict leaves: kept and relabelled images that have a label, with their new one.

        Raises:
            ValueError: the verdict is about another number of images.
        """
        if len(verdict) != len(self):
            raise ValueError(f"the verdict has {len(verdict)} rows, the training set {len(self)}")
        use = ~verdict.dropped & (verdict.new_label >= 0)
        return self._like(self.rows[use], verdict.new_label[use])

    def with_batch_size(self, batch_size: int) -> Self:
        """The same with another (global) batch size."""
        return self._like(self.rows, self.label, batch_size)

    def plain(self) -> Self:
        """The same without augmentation, for modules that make their own views."""
        return type(self)(self.source, self.rows, self.label, (), self.batch_size, self.seed)
