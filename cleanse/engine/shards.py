"""Several processes that train together give what one would: every row counts the same, whatever its process."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from cleanse.engine.distributed import in_group
from cleanse.engine.sync_batch_norm import synchronize


class EqualRows(Callback):
    """Weigh each process's loss by its share of the batch, and let batch norm see the whole batch.

    A module's loss is the mean over the rows that its process has, and DDP takes the plain mean over the processes.
    Where their shards differ (8 rows for 3 processes: 3, 3 and 2), rows of a smaller one would count more. So the loss
    of a process with n of the N rows is multiplied by n * processes / N (D1). One process alone is left as it is.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.world_size > 1:
            pl_module.training_step = _weighted(pl_module.training_step)  # type: ignore[method-assign]
            if trainer.strategy.root_device.type == "cpu":  # torch has its own for CUDA, which Lightning puts in
                synchronize(pl_module)


def rows_of(batch: Any) -> int:
    """How many rows a batch has: those of ``index``, or of its first tensor."""
    if isinstance(batch, dict):
        return batch["index"].numel() if "index" in batch else len(next(iter(batch.values())))
    return len(batch[0] if isinstance(batch, (list, tuple)) else batch)


def shard_weight(rows: int, device: torch.device) -> Tensor:
    """n * processes / N, where this process has n of N rows."""
    total = torch.tensor(float(rows), device=device)
    dist.all_reduce(total)
    return rows * dist.get_world_size() / total


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of all processes' (n,) values together, without a gradient; n may differ."""
    total = torch.stack([values.detach().sum(), values.new_tensor(float(len(values)))])
    if in_group():
        dist.all_reduce(total)
    return total[0] / total[1]


def _weighted(step: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(step)
    def training_step(batch: Any, *more: Any, **named: Any) -> Any:
        out = step(batch, *more, **named)
        if isinstance(out, Tensor):
            return out * shard_weight(rows_of(batch), out.device)
        if isinstance(out, dict) and "loss" in out:
            return {**out, "loss": out["loss"] * shard_weight(rows_of(batch), out["loss"].device)}
        return out

    return training_step
