"""What processes that train together ask of each other."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

Answer = TypeVar("Answer")
PATIENCE = timedelta(days=1)
"""How long processes wait while rank zero downloads, writes or draws; a training's own limit is minutes (D353)."""
_patient: dict[Any, Any] = {}
LOST = "another process of this run has ended or cannot be reached"


def is_rank_zero() -> bool:
    """Whether this process is the one that writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def in_group() -> bool:
    """Whether this process has joined others."""
    return dist.is_available() and dist.is_initialized()


def barrier() -> None:
    """Wait for all processes, if there are others; see `PATIENCE`."""
    if in_group():
        dist.barrier(group=_patient_group())


def from_rank_zero(ask: Callable[[], Answer]) -> Answer:
    """Rank zero looks, everybody hears (when there is anybody to hear); see `PATIENCE`."""
    if not in_group():
        return ask()
    answer: list[Any] = [ask() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(answer, src=0, group=_patient_group())
    return answer[0]  # type: ignore[no-any-return]


def _patient_group() -> Any:
    """All processes, waiting for one another over gloo as long as `PATIENCE`; made by all of them at once."""
    world = dist.group.WORLD
    if not dist.is_gloo_available():
        return world
    if world not in _patient:
        _patient.clear()
        _patient[world] = dist.new_group(timeout=PATIENCE, backend="gloo")
    return _patient[world]


def join_group(make_trainer: Callable[..., Trainer]) -> None:
    """Under torchrun or Slurm, join the process group before the first question is asked of rank zero.

    Processes that Lightning starts itself join inside their first fit: until then they see the same disk, on which
    everything before that fit is committed.

    Args:
        make_trainer: makes a Trainer of the run.
    """
    if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1 and not in_group():
        trainer = make_trainer(logger=False, enable_checkpointing=False)
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if trainer.world_size > 1 and not isinstance(environment, LightningEnvironment):
            trainer.strategy.setup_environment()


@contextmanager
def lost_process_in_words() -> Iterator[None]:
    """What the others see when a process dies is an error of gloo or NCCL, with the place in their sources.

    Raises:
        OSError: instead of that error.
    """
    try:
        yield
    except RuntimeError as error:
        if not in_group() or not (isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error)):
            raise
        raise OSError(f"{LOST}: all end, and the same command goes on from the last resume point") from error
