"""What the user sees while a recipe runs: which stage of how many, a bar, and nothing that cannot be acted on."""

import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from cleanse.engine.plan import Plan, Planned, in_words
from cleanse.engine.slurm import rank
from cleanse.utils.text import readable

log = logging.getLogger("cleanse")

EVERY = 30.0
"""Seconds between two lines about a long training where there is no terminal for a bar."""
FIRST = 10.0
"""Seconds after which the first of these lines comes: its pace can be measured then."""
LONG = 2 * 3600.0
"""Seconds of a run that is warned about."""
SILENCED = (  # third parties' remarks about things that this package decides, by the start of their message
    r".*does not have many workers.*",
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated.*",
    r".*The number of training batches.*is smaller than the logging interval.*",
    r".*You're resuming from a checkpoint that ended before the epoch ended.*",
    r".*The dirpath has changed from.*",
    r".*Checkpoint directory .* exists and is not empty.*",
    r".*Experiment logs directory .* exists and is not empty.*",
    r".*`LightningModule`s? in eval mode.*|.*Found \d+ module\(s\) in eval mode.*",
    r".*No device id is provided via `init_process_group`.*",
    r".*It is recommended to use `self.log.*sync_dist=True.*",
    r".*Initializing zero-element tensors is a no-op.*",
    r".*You have overridden `on_after_batch_transfer`.*|.*overridden.*on_after_batch_transfer.*",
    r".*LightningCLI's args parameter is intended to run from within Python.*",
    r".*`tensorboardX` has been removed as a dependency.*",
    r".*GPU available but not used.*",
    r".*srun.*command is available on your system but is not used.*",
    r".*barrier\(\): using the device under current context.*",
)


class _ToStandardError(logging.StreamHandler):  # type: ignore[type-arg]
    """To whatever standard error is at the moment: a notebook or a test may have exchanged it.

    Names of a stranger's files and classes are among what is said: no character of them steers the terminal.
    """

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(readable(line) for line in super().format(record).split("\n"))

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def quiet() -> None:
    """Silence third-party tips, device chatter and warnings that a user cannot act on; here and nowhere else."""
    for message in SILENCED:
        warnings.filterwarnings("ignore", message=message)
    for category in (DeprecationWarning, FutureWarning, PendingDeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    os.environ.setdefault("WANDB_SILENT", "true")
    for name in (
        "lightning.pytorch",
        "lightning.fabric",
        "lightning",
        "lightning_utilities",
        "wandb",
        "torch.distributed",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)
    log = logging.getLogger("cleanse")
    if not log.handlers:
        handler = _ToStandardError()
        handler.setFormatter(logging.Formatter("%(message)s"))
        log.addHandler(handler)
        log.propagate = False
    log.setLevel(logging.INFO if rank() == 0 else logging.ERROR)


@contextmanager
def speaking_as(name: str) -> Iterator[None]:
    """Inside the block, each message begins with who says it; nothing for an empty name."""
    before = [(handler, handler.formatter) for handler in log.handlers]
    for handler in log.handlers if name else ():
        handler.setFormatter(logging.Formatter(f"{name.replace('%', '%%')}: %(message)s"))
    try:
        yield
    finally:
        for handler, formatter in before:
            handler.setFormatter(formatter)


@contextmanager
def said_once() -> Iterator[None]:
    """Of lines that come again and again, as when many cells of a grid are looked at, the first."""
    seen = set[str]()

    def first(record: logging.LogRecord) -> bool:
        before = len(seen)
        seen.add(record.getMessage())
        return len(seen) > before

    log.addFilter(first)
    try:
        yield
    finally:
        log.removeFilter(first)


class Screen:
    """Shows the plan of a run, counts its stages, and shows one bar for the stage at work, on standard error.

    The time left is measured: what this training needs at its pace so far, and for each stage to come what the plan
    says, corrected by how far the stages so far were off; where the plan has no times, the mean of those so far.

    Args:
        plan: the stages to come; None if they are not known.
        enabled: False shows nothing (tests, other processes than the first).
    """

    def __init__(self, plan: Plan | None = None, enabled: bool = True) -> None:
        self.plan, self.done = plan, 0
        self.advice = ""
        self.enabled = enabled and rank() == 0
        self.live = self.enabled and sys.stderr.isatty()
        self._computed: list[float] = []
        self._planned: list[float | None] = []
        self._warned = False

    def announce(self, todo: Sequence[Planned], on_disk: int) -> None:
        """Before the first training: what is still to be done, and how long it will take.

        Args:
            todo: stages to do, with their seconds where these are known, and the epochs that are done.
            on_disk: later stages that are on disk already.
        """
        if not self.enabled:
            return
        there = self.done + on_disk
        counts = "1 stage to do" if len(todo) == 1 else f"{len(todo)} stages to do"
        counts += f", {there} {'is' if there == 1 else 'are'} on disk already" if there else ""
        log.info("%s:", counts)
        for line in in_words(todo, duration):
            log.info("  %s", line)
        known = [stage.left for stage in todo if stage.left is not None]
        if len(known) == len(todo):
            log.info("about %s in all on this machine, from a step of each training", duration(sum(known)))
        elif known:
            log.info(
                "about %s on this machine for %d of them, from a step of each training; the others are not known",
                duration(sum(known)), len(known),
            )  # fmt: skip
        if sum(known) > LONG:
            self._warn(sum(known))

    def unknown(self) -> None:
        """Before the first training of a recipe that does not say what it is going to do."""
        if self.enabled:
            log.info("how many stages this recipe has is not known beforehand")

    def started(self, name: str) -> "StageBar":
        """A stage begins to compute; the bar goes into its Trainer."""
        self.done += 1
        met = None if self.plan is None else self.plan.meet(name)
        self._planned.append(None if met is None else met.seconds)
        return StageBar(f"{self._count()} {name}", self)

    def finished(self, name: str, seconds: float) -> None:
        """A computed stage is committed."""
        self._computed.append(seconds)
        if self.enabled:
            tqdm.write(f"{self._count()} {name:<24} {seconds:8.1f} s", file=sys.stderr)

    def skipped(self, name: str) -> None:
        """A stage was read back."""
        self.done += 1
        if self.plan is not None:
            self.plan.meet(name)

    def summary(self, read: int) -> None:
        """After the last stage: say how many did not have to run."""
        if self.enabled and read:
            tqdm.write(f"{read} of {self.done} stages were on disk already", file=sys.stderr)

    def left(self, stage: float, whole: float) -> str:
        """The time left in words; once, a warning if it is very long.

        Args:
            stage: seconds that this training still needs.
            whole: seconds that it needs in all.
        """
        coming = [] if self.plan is None else self.plan.coming
        every = stage + self._seconds_of(coming, whole)
        if every > LONG:
            self._warn(every)
        if coming:
            return f"{duration(stage)} left for this stage, about {duration(every)} in all"
        return f"{duration(stage)} left for this stage" + ("" if self.plan else ", how many follow is not known")

    def _seconds_of(self, coming: Sequence[Planned], whole: float) -> float:
        """Of the stages to come, while the one at work will have taken ``whole`` seconds."""
        real = [*self._computed, whole]
        both = [(r, p) for r, p in zip(real, self._planned[-len(real) :], strict=False) if p]
        planned = sum(p for _, p in both)
        off = sum(r for r, _ in both) / planned if planned else 1.0
        mean = sum(real) / len(real)
        return sum(mean if s.left is None else off * s.left for s in coming)

    def _warn(self, seconds: float) -> None:
        if self._warned:
            return
        self._warned = True
        log.warning(
            "this run needs about %s on this machine: Ctrl-C ends it, and the same command goes on later%s; fewer "
            "epochs (the arguments that end in epochs), fewer images (--data.limit_train), a smaller network or a GPU "
            "make it shorter",
            duration(seconds), f". {self.advice}" if self.advice else "",
        )  # fmt: skip

    def _count(self) -> str:
        total = self.done + (0 if self.plan is None else len(self.plan.coming))
        return f"[{self.done:>{len(str(total))}}/{total}]" if self.plan else f"[{self.done}]"


class StageBar(ProgressBar):
    """One line for a whole stage: epochs done, the last loss, the time left; a line now and then without a terminal.

    Args:
        title: of the stage.
        screen: knows the other stages.
    """

    def __init__(self, title: str, screen: Screen) -> None:
        super().__init__()
        self.title, self.screen, self.live = title, screen, screen.live
        self.bar: tqdm[Any] | None = None
        self.told = screen.enabled and not screen.live
        self._begun = self._next = time.monotonic()
        self._first = 0.0

    def disable(self) -> None:
        self.live = self.told = False

    def enable(self) -> None:
        self.live = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun, self._first = time.monotonic(), float(trainer.current_epoch)
        self._next = self._begun + FIRST
        self._open(trainer, (trainer.max_epochs or 1) * 1000, trainer.current_epoch * 1000)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        if self.bar is not None:
            self._next = now + 0.2
            self.bar.n = int(1000 * self._done(trainer))
            self._show(trainer, self.left(trainer))
        elif self.told:
            self._next = now + EVERY
            epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            tqdm.write(", ".join(filter(None, (f"{self.title}: {epoch}", self.left(trainer)))), file=sys.stderr)

    def left(self, trainer: pl.Trainer) -> str:
        """The time left in words, from this training's pace; empty while it cannot be said."""
        epochs, done, passed = trainer.max_epochs or 0, self._done(trainer), time.monotonic() - self._begun
        if epochs < 1 or done <= self._first or passed < FIRST / 2:
            return ""
        pace = passed / (done - self._first)
        return self.screen.left(max(0.0, epochs - done) * pace, epochs * pace)

    def on_train_end(self, *args: Any) -> None:
        self._close()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open(trainer, int(sum(trainer.num_predict_batches)) * 1000, 0)

    def on_predict_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        if self.bar is not None:
            self.bar.update(1000)

    def on_predict_end(self, *args: Any) -> None:
        self._close()

    def on_exception(self, *args: Any) -> None:
        self._close()

    def _done(self, trainer: pl.Trainer) -> float:
        """Epochs so far, with their part."""
        part = trainer.fit_loop.epoch_loop.batch_progress.current.ready / max(1, trainer.num_training_batches)
        return trainer.current_epoch + min(part, 1.0)

    def _open(self, trainer: pl.Trainer, total: int, done: int) -> None:
        if self.live and trainer.is_global_zero:
            form = "{desc} {percentage:3.0f}%|{bar:30}| {elapsed}{postfix}"
            self._next = 0.0
            self.bar = tqdm(total=total, initial=done, desc=self.title, leave=False, bar_format=form, file=sys.stderr)

    def _show(self, trainer: pl.Trainer, left: str) -> None:
        shown = {"epoch": f"{trainer.current_epoch + 1}/{trainer.max_epochs}"}
        shown |= {k.rsplit("/", 1)[-1]: f"{float(v):.3f}" for k, v in trainer.callback_metrics.items()}
        figures = ", ".join(f"{name}={value}" for name, value in shown.items())
        assert self.bar is not None
        self.bar.set_postfix_str(", ".join(filter(None, (left, figures))))

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def duration(seconds: float) -> str:
    """A time in words, of which two figures matter.

    >>> [duration(s) for s in (4.2, 100, 3700, 200_000)]
    ['4 s', '2 min', '1 h 2 min', '2 days 7 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"
