"""How long an image takes in a training or in a table: a few steps on a copy, timed, and nothing left behind."""

import json
import logging
import math
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from cleanse.engine.fingerprint import describe
from cleanse.engine.memory import memory_kept
from cleanse.engine.plan import FORWARD, Planned
from cleanse.engine.shards import rows_of

log = logging.getLogger("cleanse")

SMALL_BATCH = 32
"""Images of the first steps: what takes seconds for a large batch can be told from a small one."""
ENOUGH = 0.1
"""Seconds of a step from which a small batch tells the pace; of a shorter one, most is overhead."""
STEPS = 4
"""Steps of a measurement at most; the first is for warming up, the middle one of the others counts."""

TrainerMaker = Callable[[Path, list[Callback], dict[str, Any]], Trainer]
Pace = dict[str, float | None]
"""Seconds of an image in a training, by kind; None for a kind that could not be timed."""


class _Timed(Exception):
    """Ends a training that was only to be timed."""


class _Clock(Callback):
    """Time some steps after a first one, and stop; a step that something else on the machine held up does not count."""

    def __init__(self) -> None:
        self._each: list[tuple[float, int]] = []
        self._last = 0
        self._begun = time.monotonic()

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return median(seconds for seconds, _ in self._each)

    @property
    def image(self) -> float:
        """Seconds of an image in a step."""
        return median(seconds / rows for seconds, rows in self._each)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        seconds, self._begun = time.monotonic() - self._begun, time.monotonic()
        if not self._last:
            self._last = 1 if seconds > 1.0 else STEPS - 1
            return
        self._each.append((seconds, rows_of(batch)))
        if len(self._each) >= self._last:
            raise _Timed

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *where: int
    ) -> None:
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.synchronize()
        self._each.append((time.monotonic() - self._begun, rows_of(batch)))

    def on_predict_batch_start(self, *args: Any) -> None:
        self._begun = time.monotonic()


def measure(
    stages: Sequence[Planned], trainer: TrainerMaker, pace: Pace | None = None, until: float = math.inf
) -> None:
    """Set ``seconds`` of planned stages, from a timed step of each kind of training.

    A kind is a module with its network at a batch size. A table takes a third of the time of its module's training step
    (a gradient takes twice as long as what it is of), or that of its own step where the module is not trained. What
    cannot be timed has no seconds. Weights, data, random states and the disk are left as they are (D200).

    Args:
        stages: what is still to be done.
        trainer: makes a Trainer of the run.
        pace: of kinds that were measured before; what is measured now is added.
        until: the moment, by `time.monotonic`, from which on nothing more is measured.
    """
    pace = {} if pace is None else pace
    with _random_states_kept(), memory_kept():
        for stage in stages:
            if stage.epochs and (kind := _kind(stage)) not in pace and time.monotonic() < until:
                pace[kind] = _measured(_time_fit, stage, trainer)
        for stage in stages:
            kind = _kind(stage)
            if not stage.epochs and kind not in pace:
                trained = [p for k, p in pace.items() if p is not None and json.loads(k)[0] == json.loads(kind)[0]]
                if trained:
                    pace[kind] = trained[0]
                elif time.monotonic() < until:
                    pace[kind] = _measured(_time_table, stage, trainer)
            each = pace.get(kind)
            stage.seconds = None if each is None else each * stage.work


def _kind(stage: Planned) -> str:
    """What decides the pace: the module and its network, the batch and the size of the images."""
    made: Any = stage.build
    what = [made.func, made.args[:1]] if isinstance(made, partial) else [made]
    return json.dumps([describe(what), getattr(stage.data, "batch_size", 0), getattr(stage.data, "size", None)])


def _measured(how: Callable[..., float], stage: Planned, trainer: TrainerMaker) -> float | None:
    """Seconds for one image pass of a training; None if this fails, which the stage itself will then explain."""
    try:
        return how(stage, trainer)
    except Exception as error:
        log.debug("%s was not timed: %s", stage.name, error)
        return None


def _time_fit(stage: Planned, trainer: TrainerMaker) -> float:
    batch = getattr(stage.data, "batch_size", 0)
    smaller = getattr(stage.data, "with_batch_size", None)
    if smaller is not None and batch > SMALL_BATCH and not torch.cuda.is_available():
        clock = _timed_fit(stage, smaller(SMALL_BATCH), trainer)
        if clock.step >= ENOUGH:
            return clock.image
    return _timed_fit(stage, stage.data, trainer).image


def _timed_fit(stage: Planned, data: Any, trainer: TrainerMaker) -> _Clock:
    clock, data, build = _Clock(), _apart(data), deepcopy(stage.build)
    with tempfile.TemporaryDirectory(prefix="cleanse-") as folder:
        torch.manual_seed(0)
        # a module may plan with the number of epochs; a few images may take more of them than the stage has
        made = trainer(Path(folder), [clock], {"max_epochs": max(stage.epochs, STEPS), "enable_progress_bar": False})
        try:
            made.fit(build(), datamodule=data)
        except _Timed:
            return clock
    raise ValueError("it ended before a step was timed")


def _time_table(stage: Planned, trainer: TrainerMaker) -> float:
    """As a training's: the time of an image, by what a table takes of a training step."""
    few = torch.arange(len(stage.data)) < SMALL_BATCH
    clock, data = _Clock(), _apart(stage.data.subset(few))
    with tempfile.TemporaryDirectory(prefix="cleanse-") as folder:
        made = trainer(Path(folder), [clock], {"enable_progress_bar": False})
        made.predict(deepcopy(stage.build)(), datamodule=data, return_predictions=False)
    return clock.image / FORWARD


def _apart(data: Any) -> Any:
    """A copy that can be given to a Trainer; augmentations remember their last draw."""
    data = copy(data)
    if hasattr(data, "augment"):
        data.augment = deepcopy(data.augment)
    return data


@contextmanager
def _random_states_kept() -> Iterator[None]:
    before, numpy_before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(numpy_before)
