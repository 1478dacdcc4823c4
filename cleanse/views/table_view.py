"""A table of features with labels as a data module: every class at once, so many rows of each in a batch."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cleanse.engine.fingerprint import describe
from cleanse.views.epoch_batches import EpochBatches


class ClassBatches(Sampler[Tensor]):
    """Positions of ``batch_size`` rows of every class at a time; a class that is through leaves the rest of the epoch.

    Class c of n_c rows has n_c // batch_size batches in an epoch, at least one; the rows that fill no batch are others
    in every epoch. A class with fewer rows than a batch has them repeated, so that some count more often than others. A
    class is shuffled by itself: what it gets does not depend on the other classes.

    Args:
        label: (n,) int64; rows with -1 are left out.
        batch_size: rows of each class, B.
        seed: shuffles, anew in every epoch.
        epoch: where to begin; Lightning then calls `set_epoch`.

    Yields:
        (k, B) int64, one line for each class that still goes on, in the order of the classes.
    """

    def __init__(self, label: Tensor, batch_size: int, seed: int, epoch: int = 0) -> None:
        self.batch_size, self.seed, self.epoch = batch_size, seed, epoch
        classes = torch.unique(label[label >= 0]).tolist()
        self.members = {int(c): (label == c).nonzero().flatten() for c in classes}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def batches(self) -> dict[int, int]:
        """How many batches each class has in an epoch."""
        return {c: max(1, len(rows) // self.batch_size) for c, rows in self.members.items()}

    def __len__(self) -> int:
        return max(self.batches().values())

    def __iter__(self) -> Iterator[Tensor]:
        batches = self.batches()
        orders = [self._order(c, rows, batches[c]) for c, rows in self.members.items()]
        for i in range(len(self)):
            yield torch.stack([order[i] for order in orders if i < len(order)])

    def _order(self, c: int, rows: Tensor, batches: int) -> Tensor:
        """(batches, B) of one class."""
        seed = (self.seed * 1_000_003 + self.epoch) * 1_000_003 % 2**62 + c
        rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))]
        wanted = batches * self.batch_size
        return rows.repeat(-(-wanted // len(rows)))[:wanted].view(batches, self.batch_size)


class _Positions(Dataset[Tensor]):
    """Hands a position back: the table is already where it is needed."""

    def __getitem__(self, position: Any) -> Tensor:
        return torch.as_tensor(position)


class TableView(LightningDataModule):
    """Features that were computed before, one row for each image, ready for a Trainer.

    A batch is a dictionary. For training: ``features`` (k, B, d) float, ``label`` (k, B) and ``index`` (k, B) int64, B
    rows for each of k classes (`ClassBatches`). For predicting: ``features`` (b, d), ``label`` (b,) and ``index`` (b,),
    every row once and in order, several processes taking turns. In training each process goes through the whole of
    every batch: it holds too few rows of a class to be shared.

    Args:
        features: (n, d) float.
        label: (n,) int64, the labels given; -1 where there is none: such rows are predicted, not trained on.
        num_classes: C; None for the largest label + 1. A class without rows is not trained.
        batch_size: rows of every class in a training batch.
        seed: of the shuffling; the runner sets it from the stage's key.

    Raises:
        ValueError: other shapes, features that are not finite, no row with a label, labels beyond the classes, or an
            empty batch.
    """

    def __init__(
        self, features: Tensor, label: Tensor, num_classes: int | None = None, batch_size: int = 16, seed: int = 0
    ) -> None:
        super().__init__()
        if features.ndim != 2 or not features.is_floating_point() or label.shape != features.shape[:1]:
            raise ValueError(
                f"features is (n, d) float and label (n,), not {tuple(features.shape)} {features.dtype} and "
                f"{tuple(label.shape)}"
            )
        if not (label >= 0).any():
            raise ValueError(f"none of the {len(label)} rows has a label: there is no class to learn")
        wrong = ~features.isfinite().all(1)
        if wrong.any():
            first = int(wrong.nonzero()[0])
            raise ValueError(
                f"{int(wrong.sum())} of {len(features)} rows of features are not finite, the first is row {first}: "
                "the encoder that they come from has diverged"
            )
        largest = int(label.max())
        num_classes = largest + 1 if num_classes is None else num_classes
        if largest >= num_classes or int(label.min()) < -1:
            raise ValueError(f"label is in -1..{num_classes - 1}, not {int(label.min())}..{largest}")
        if batch_size < 1:
            raise ValueError(f"batch_size is the number of rows of every class, 1 or more, not {batch_size}")
        self.features, self.label, self.num_classes = features.detach().cpu(), label.cpu(), num_classes
        self.batch_size, self.seed = batch_size, seed
        self._copies: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self.features)

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        std, mean = torch.std_mean(self.features.double(), 0, correction=0)  # float32 would miss constant columns
        return mean.to(self.features.dtype), std.to(self.features.dtype)

    @property
    def mean(self) -> Tensor:
        """(d,) of every coordinate over all rows."""
        return self._moments[0]

    @property
    def std(self) -> Tensor:
        """(d,) of every coordinate over all rows; 0 where it is constant."""
        return self._moments[1]

    @property
    def batches(self) -> list[int]:
        """(C,) how many batches each class has in an epoch; 0 without rows."""
        found = self._sampler(0).batches()
        return [found.get(c, 0) for c in range(self.num_classes)]

    @cached_property
    def _content(self) -> dict[str, Any]:
        return {"features": describe(self.features), "label": describe(self.label)}

    def spec(self) -> dict[str, Any]:
        """All that decides what comes out of this view, as plain values; part of every cache key."""
        return {**self._content, "num_classes": self.num_classes, "batch_size": self.batch_size}

    # --- Lightning ---
    def train_dataloader(self) -> DataLoader[Tensor]:
        trainer = self.trainer
        epoch = 0 if trainer is None else trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        return self._loader(self._sampler(epoch))

    def predict_dataloader(self) -> DataLoader[Tensor]:
        trainer = self.trainer
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        return self._loader(EpochBatches(torch.arange(len(self)), 512, None, False, rank, world))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> dict[str, Tensor]:
        features, label = self._on(batch.device)
        return {"features": features[batch], "label": label[batch], "index": batch}

    def _on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The table on ``device``; copied there at the first call and kept."""
        if device not in self._copies:
            self._copies[device] = self.features.to(device), self.label.to(device)
        return self._copies[device]

    def _sampler(self, epoch: int) -> ClassBatches:
        return ClassBatches(self.label, self.batch_size, self.seed, epoch)

    def _loader(self, sampler: Sampler[Tensor]) -> DataLoader[Tensor]:
        # a generator of its own: an iterator draws a seed when it is made, and a resumed epoch makes one iterator less
        return DataLoader(_Positions(), batch_size=None, sampler=sampler, generator=torch.Generator())
