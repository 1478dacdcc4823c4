"""Which rows a batch holds: the same global order whatever the number of processes."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class RowNumbers(Dataset[Tensor]):
    """Hands an index back: the images are already where they are needed."""

    def __getitem__(self, rows: Any) -> Tensor:
        return rows if isinstance(rows, Tensor) else torch.as_tensor(rows)


class EpochBatches(Sampler[Tensor]):
    """Batches of row numbers: the same global order whatever the number of processes, of which each takes its part.

    Args:
        rows: (n,) int64, the rows to go through.
        batch_size: over all processes.
        seed: shuffles, anew in every epoch; None keeps the order.
        drop_last: leave a smaller last batch out, unless it is the only one (D3).
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
            if self.seed is not None and len(batch) < self.world:  # every process needs a row: each gets all of them
                yield batch
            else:
                yield batch[self.rank :: self.world]


class GivenBatches(Sampler[Tensor]):
    """Batches that a module has put together, of which each process takes its part, a group of rows at a time.

    Args:
        batches: (n, B, k) int64: n batches over all processes, of B groups of k rows that stay together.
        rank, world: this process and how many there are.

    Yields:
        int64 row numbers, group after group.
    """

    def __init__(self, batches: Tensor, rank: int, world: int) -> None:
        self.batches, self.rank, self.world = batches, rank, world

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.batches:
            # every process needs a row: of too few groups, each gets all
            yield (batch if len(batch) < self.world else batch[self.rank :: self.world]).flatten()
