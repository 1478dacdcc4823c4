"""Callbacks with which a killed stage goes on where it was, with the same bits as if nothing had happened."""

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from cleanse.engine.distributed import is_rank_zero
from cleanse.utils.files import atomic_write_text, digest_of, read_small

log = logging.getLogger("cleanse")

SHARE = 0.02
"""Of the training time, for the writing of resume points."""


class SeedEveryEpoch(Callback):
    """Seed anew at the start of every epoch, so that a resumed stage draws what an uninterrupted one would."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed((self.seed * 1_000_003 + 7919 * trainer.current_epoch + trainer.global_rank) % 2**63)


class ResumePoint(Checkpoint):
    """Write ``last.ckpt`` at the end of an epoch now and then; count the seconds over restarts.

    Its digest is kept in ``last.json``, so that a damaged one is noticed. That file is written first and names the old
    one too: a kill between the two loses nothing.

    Args:
        folder: in which the stage is computed.
        stage: its key; a resume point of another stage is not used.
        every: seconds from one to the next at least, more where writing one takes more than 2 % of them. The
            environment variable CLEANSE_CHECKPOINT_SECONDS sets them; with 0 every epoch ends with one.
    """

    def __init__(self, folder: Path, stage: str, every: float = 10.0) -> None:
        self.path, self.record, self.stage = folder / "last.ckpt", folder / "last.json", stage
        asked = os.environ.get("CLEANSE_CHECKPOINT_SECONDS")
        self.every = float(asked or every)
        self.share = SHARE if self.every else 1.0
        self.seconds = 0.0
        self.begun = False
        self._wait = self.every
        self._digest: str | None = None
        self._start = self._saved = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begun = True
        self._start = self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            return  # the stage is about to be committed
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self._wait):
            begun = time.monotonic()
            self._write(trainer)
            self._saved = time.monotonic()
            self._wait = max(self.every, (self._saved - begun) / self.share) if self.every else 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds + time.monotonic() - self._start, "stage": self.stage}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = float(state_dict["seconds"])

    def find(self) -> Path | None:
        """The resume point, if there is a sound one of this very stage; a damaged one is put aside with a warning."""
        if not self.path.exists() and not self.path.is_symlink():
            return None
        try:
            digest = digest_of(self.path)
            if digest not in json.loads(read_small(self.record))["sha256"]:
                raise ValueError("it is not what was written")
            content = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
            if content["callbacks"][self.state_key]["stage"] != self.stage:
                raise ValueError("it belongs to another stage")
        except Exception as error:  # whatever is wrong with a resume point, the stage can begin afresh
            self.put_aside(str(error) or type(error).__name__)
            return None
        self._digest = digest
        return self.path

    def epochs(self) -> int:
        """Epochs after which the resume point was written, as its record says; 0 where there is none."""
        try:
            done = json.loads(read_small(self.record))["epochs"] if self.path.is_file() else 0
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return 0
        return done if type(done) is int and done > 0 else 0

    def put_aside(self, why: str) -> None:
        """Rename a resume point that is of no use: the stage begins afresh."""
        if is_rank_zero():
            log.warning("%s cannot be used (%s): the stage begins afresh", self.path, why)
            self.path.replace(self.path.with_name("last.ckpt.damaged"))

    def _write(self, trainer: Trainer) -> None:
        fresh = self.path.with_name("last.next.ckpt")
        try:
            trainer.save_checkpoint(fresh)  # by all processes
        except BaseException:
            fresh.unlink(missing_ok=True)  # a full disk is not kept full
            raise
        if is_rank_zero():
            digest = digest_of(fresh)
            known = [digest] if self._digest is None else [self._digest, digest]
            atomic_write_text(self.record, json.dumps({"sha256": known, "epochs": trainer.current_epoch + 1}))
            fresh.replace(self.path)
            self._digest = digest
