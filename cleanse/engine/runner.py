"""The runner: every fit and predict of a recipe happens once, seeded, gathered and committed to disk."""

import errno
import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from cleanse.engine.compiled import compile_network
from cleanse.engine.distributed import (
    barrier,
    from_rank_zero,
    in_group,
    is_rank_zero,
    join_group,
    lost_process_in_words,
)
from cleanse.engine.fingerprint import describe
from cleanse.engine.lock import only_one
from cleanse.engine.measured_step import Pace, measure
from cleanse.engine.memory import memory_kept
from cleanse.engine.plan import Plan, Planned
from cleanse.engine.precision import keep_precision
from cleanse.engine.progress import Screen
from cleanse.engine.resume_point import ResumePoint, SeedEveryEpoch
from cleanse.engine.shards import EqualRows
from cleanse.engine.stage import Stage, key_of, seed_of
from cleanse.engine.trainer_numbers import check_trainer
from cleanse.version import __version__

log = logging.getLogger("cleanse")

Module = TypeVar("Module", bound=LightningModule)
Result = TypeVar("Result")
OF_THE_RUN = ("accelerator", "devices", "num_nodes", "strategy")
"""Trainer arguments that hold for a whole run and never change a result (the batch size is global)."""
WITHOUT_EFFECT = frozenset(
    {
        *OF_THE_RUN, "logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing",
        "default_root_dir", "log_every_n_steps", "profiler", "barebones", "use_distributed_sampler",
        "num_sanity_val_steps", "detect_anomaly", "sync_batchnorm", "model_registry",
    }
)  # fmt: skip
"""Trainer arguments that are not part of a stage's key."""


class StageData(Protocol):
    """What the runner needs of the data of a stage: a data module that describes itself."""

    seed: int

    def spec(self) -> Any: ...

    def __len__(self) -> int: ...


class Table:
    """What a module predicted: named columns, one row per image, in the view's order."""

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self.columns = dict(columns)

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["columns"][name]  # type: ignore[no-any-return]
        except KeyError:
            have = ", ".join(self.__dict__.get("columns", {}))
            raise AttributeError(f"the table has no column {name!r}; it has {have}") from None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


class Runner:
    """Do every fit and predict of a recipe once, and read it back from disk the next time.

    A stage lives in ``<root>/<name>-<key>/``. The key is a hash of what was built, the data's own description, the
    trainer arguments that change a result, and the seed; never of a path, a date or the number of devices. It is made
    in ``<name>-<key>.part/``, from where a killed stage goes on, and committed by renaming.

    Args:
        root: directory of all stages.
        seed: of the run; a stage's own seed is drawn from its key, which contains it.
        trainer: makes a Trainer from the arguments of a stage; called anew for every stage. None for Lightning's
            own with ``arguments``.
        arguments: the trainer arguments of the whole run; the ones that can change a result are in every key.
        loggers: (stage's directory, stage's name) to loggers.
        screen: where progress is shown.
        compile: let torch.compile make faster kernels for the networks that are trained; see `compile_network`.

    Raises:
        ValueError: callbacks among ``arguments``, or a number with which a Trainer would train or judge nothing.

    Example::

        run = Runner("runs", arguments={"accelerator": "cpu"})
        model = run.fit("classifier", partial(Classifier, network), view, max_epochs=10)
        table = run.predict("embed", model, view)
    """

    def __init__(
        self,
        root: str | Path = "runs",
        seed: int = 0,
        trainer: Callable[..., Trainer] | None = None,
        arguments: Mapping[str, Any] | None = None,
        loggers: Callable[[Path, str], list[Logger]] | None = None,
        screen: Screen | None = None,
        compile: bool = False,
    ) -> None:
        self.root, self.seed, self.arguments = Path(root), seed, dict(arguments or {})
        if trainer is None and self.arguments.get("callbacks"):
            raise ValueError("callbacks would be shared between stages: give a trainer function that makes them anew")
        check_trainer(self.arguments)
        self.trainer = trainer or partial(Trainer, **self.arguments)
        self.loggers = loggers or (lambda directory, name: [])
        self.screen = screen or Screen(enabled=False)
        self.compile = compile
        self.stages: list[tuple[str, Path]] = []
        self.seconds: dict[str, float] = {}
        self.computed = 0
        self._watchers: list[Callback] = []
        self._prefix = ""
        self._announced = True
        self._alone = True
        self._scratch: Path | None = None

    # --- what a recipe calls ---
    def fit(
        self, name: str, build: Callable[[], Module], data: LightningDataModule, **trainer_arguments: Any
    ) -> Module:
        """Train ``build()`` on ``data``, or read back the weights that this very call left behind.

        Args:
            name: of the stage; part of its directory's name and of its metrics' names.
            build: a class or a ``functools.partial`` of one, with all its arguments.
            data: a view.
            trainer_arguments: ``max_epochs`` and whatever else of the Trainer is this stage's own.

        Returns:
            the trained module on the CPU, in eval mode, with ``stage_key`` set.

        Raises:
            ValueError: a stage asks for devices of its own, for less than one epoch, or for no batch at all.
        """
        check_trainer(trainer_arguments)
        epochs, ends = trainer_arguments.get("max_epochs"), {"max_steps", "max_time"} & trainer_arguments.keys()
        if epochs is not None and epochs < 1 and not ends:  # -1 is for ever, until one of the two ends it
            raise ValueError(f"{name} is to be trained for {epochs} epochs: give it at least one")
        for argument in OF_THE_RUN:
            if argument in trainer_arguments:
                raise ValueError(
                    f"stage {name!r} asks for {argument}={trainer_arguments[argument]!r}, but {', '.join(OF_THE_RUN)} "
                    "hold for the whole run: set them once, in the trainer section of the config"
                )
        effective = _effective({**self.arguments, **trainer_arguments})
        stage = self._stage(name, {"fit": describe(build), "data": _spec(data), "trainer": effective}, "model.ckpt")

        def read() -> Module:
            with _seeded(stage.seed):
                module = build()
            module.load_state_dict(stage.load()["state_dict"])
            module.stage_key = stage.key  # type: ignore[assignment]
            return module.eval()

        return self._once(stage, partial(self._train, stage, build, data, trainer_arguments), read)

    def predict(self, name: str, module: LightningModule, data: LightningDataModule) -> Table:
        """``module.predict_step`` over every row of ``data`` exactly once, in order, whatever the number of processes.

        ``predict_step`` returns a dictionary of tensors with one row per image, among them ``index``.

        Raises:
            ValueError: the module was not fitted by a runner, so that nobody knows what it is.
        """
        if getattr(module, "stage_key", None) is None:
            raise ValueError(
                f"stage {name!r}: {type(module).__name__} was not fitted by a runner, so its table cannot be cached"
            )
        effective = {
            k: v for k, v in _effective(self.arguments).items() if k == "precision" or k.startswith("limit_predict")
        }
        spec = {"predict": str(module.stage_key), "data": _spec(data), "trainer": effective}
        stage = self._stage(name, spec, "table.pt")

        def read() -> Table:
            columns = stage.load()
            if not torch.equal(columns["index"], torch.arange(len(data))):  # type: ignore[arg-type]
                raise ValueError("it is the table of other data")
            return Table(columns)

        return self._once(stage, partial(self._tabulate, stage, module, data), read)

    def generator(self, name: str, data: LightningDataModule) -> torch.Generator:
        """Randomness for a recipe's own use (ties), from the run's seed, a name and the data."""
        key = key_of({"generator": name, "data": _spec(data), "seed": self.seed})
        return torch.Generator().manual_seed(seed_of(key))

    def prepare(self, data: LightningDataModule) -> None:
        """Let rank zero download what ``data`` needs, before anybody reads it."""
        join_group(self.trainer)
        if is_rank_zero():
            data.prepare_data()
        barrier()

    # --- what an experiment says around its recipes ---
    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Inside the block, stages are shown and logged as ``name/<stage>``: the same recipe runs more than once."""
        before = self._prefix
        self._prefix = f"{before}{name}/"
        try:
            yield
        finally:
            self._prefix = before

    @contextmanager
    def watching(self, callbacks: Sequence[Callback]) -> Iterator[None]:
        """Inside the block, these callbacks are in every fit; they look on and change nothing, so no key has them."""
        before = self._watchers
        self._watchers = [*before, *callbacks]
        try:
            yield
        finally:
            self._watchers = before

    @contextmanager
    def as_one_of_many(self) -> Iterator[None]:
        """Inside the block, a stage that another command is computing raises `StageBusy`, and no plan is measured."""
        before = self._alone
        self._alone = False
        try:
            yield
        finally:
            self._alone = before

    def expect(self, stages: Sequence[Planned] | None, advice: str = "") -> None:
        """Say what is going to be asked for; it is shown, with the time that it takes, before the first training.

        Args:
            stages: in their order; None if nobody can say.
            advice: what else one could do if that takes very long.
        """
        self.screen.plan = None if stages is None else Plan(stages)
        self.screen.advice = advice
        self._announced = False

    def directory_of(self, planned: Planned) -> Path | None:
        """Where a planned training will be; None for a table, and where an earlier stage decides what it sees."""
        if not planned.epochs or planned.most:
            return None
        try:
            trainer = _effective({**self.arguments, "max_epochs": planned.epochs})
            spec = {"fit": describe(planned.build), "data": _spec(planned.data), "trainer": trainer}
            return self._stage(planned.name.rpartition("/")[2], spec, "model.ckpt").directory
        except ValueError:
            return None

    def time(self, stages: Sequence[Planned], pace: Pace | None = None, until: float = math.inf) -> None:
        """Set ``seconds`` of planned stages from a timed step of each kind of training, where that can be done.

        Args:
            stages: what is still to be done.
            pace: of kinds that were timed before, by runs with the same `fixed` arguments on the same device.
            until: the moment, by `time.monotonic`, from which on nothing more is timed.
        """
        if not self.why_not_timed():
            measure(stages, lambda folder, callbacks, own: self._trainer(folder, callbacks, False, own), pace, until)

    def why_not_timed(self) -> str:
        """Why no step of a training can be timed on its own; empty where it can."""
        if self.arguments.get("callbacks"):
            return "the trainer has callbacks, which may do what they like, also to the disk"
        if self.world_size() > 1:
            return "a Trainer of several processes would start them for a step"
        return ""

    def world_size(self) -> int:
        """Processes that train together, also before Lightning has started the others."""
        if in_group():
            return dist.get_world_size()
        return int(self.trainer(logger=False, enable_checkpointing=False).world_size)

    def fixed(self) -> dict[str, Any]:
        """The trainer arguments of the whole run that can change a result."""
        return _effective(self.arguments)

    # --- one stage ---
    def _stage(self, name: str, spec: dict[str, Any], result: str) -> Stage:
        return Stage(self.root, name, {"name": name, "seed": self.seed, **spec}, result)

    def _once(self, stage: Stage, compute: Callable[[], None], read: Callable[[], Result]) -> Result:
        """Compute a stage and commit it, unless it is on disk already, and read what it left."""
        with lost_process_in_words():
            join_group(self.trainer)
            there = from_rank_zero(stage.is_committed)
        computed = False
        if not there:  # so that a finished run can be read where nothing can be written
            stage.place(self._home())
            computed = self._compute(stage, compute)
        try:
            result = read()
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            if computed:
                raise
            barrier()  # all have read it
            computed = self._compute(stage, compute, f"{type(error).__name__}: {str(error).splitlines()[0]}")
            result = read()
        if computed:
            self.computed += 1
            self.screen.finished(self._prefix + stage.name, stage.seconds)
        else:
            self.screen.skipped(self._prefix + stage.name)
        self.stages.append((stage.name, stage.directory))
        self.seconds[stage.name] = self.seconds.get(stage.name, 0.0) + stage.seconds
        return result

    def _compute(self, stage: Stage, compute: Callable[[], None], damage: str | None = None) -> bool:
        """Whether the stage had to be computed: not if another command has done it meanwhile.

        Args:
            stage: not committed, or with damage that only its reader noticed.
            compute: fills the stage's ``part``.
            damage: what the reader noticed.
        """

        def is_there() -> bool:
            why = damage or stage.damage()
            if why and is_rank_zero():
                stage.discard(why)
            return why is None

        stage.directory.parent.mkdir(parents=True, exist_ok=True)
        if is_rank_zero():
            keep_precision(stage.directory.parent)
        with only_one(stage.lock, wait=self._alone) as lock:
            if from_rank_zero(is_there):
                return False
            self._announce()
            if is_rank_zero():
                stage.open()
            barrier()
            with _full_disk_in_words(stage.part), lost_process_in_words():
                compute()
                if is_rank_zero():
                    if not lock.held():
                        raise OSError(
                            f"{stage.part} was taken over by another machine, which had no sign of life from this one "
                            "for a while: the same command reads what that one makes"
                        )
                    stage.commit()
            barrier()
        return True

    def _announce(self) -> None:
        """Before the first stage that is not on disk: show what is still to be done, and how long it will take."""
        if self._announced or not self._alone:
            return
        self._announced = True
        plan = self.screen.plan
        if not self.screen.enabled or plan is None:
            self.screen.unknown()
            return
        there = [stage for stage in plan.coming if self._is_there(stage)]
        for stage in there:
            stage.seconds = 0.0
        todo = [stage for stage in plan.coming if stage not in there]
        for stage in todo:
            stage.done = self._epochs_done(stage)
        self.time(todo)
        self.screen.announce(todo, len(there))

    def _is_there(self, planned: Planned) -> bool:
        """Whether the directory of a planned training is there already; not asked where its images are not known."""
        directory = self.directory_of(planned)
        return directory is not None and directory.is_dir()

    def _epochs_done(self, planned: Planned) -> int:
        """Epochs of a planned training that a killed command has left; 0 where its images are not known beforehand."""
        directory = self.directory_of(planned)
        if directory is None:
            return 0
        part = directory.with_name(f"{directory.name}.part")
        return min(ResumePoint(part, "").epochs(), max(0, planned.epochs - 1))

    def _home(self) -> Path:
        """Where new stages go: the root, or a temporary folder where the root can only be read."""
        if self._scratch is None:

            def ask() -> str:
                if not self.root.is_dir() or os.access(self.root, os.W_OK):
                    return str(self.root)
                log.warning("%s cannot be written to: what is not there yet is computed and forgotten", self.root)
                self._temporary = tempfile.TemporaryDirectory(prefix="cleanse-", ignore_cleanup_errors=True)
                return self._temporary.name

            self._scratch = Path(from_rank_zero(ask))
        return self._scratch

    def _train(
        self, stage: Stage, build: Callable[[], LightningModule], data: Any, arguments: Mapping[str, Any]
    ) -> None:
        data.seed = stage.seed
        resume = ResumePoint(stage.part, stage.key)
        begun = time.monotonic()
        last = resume.find()
        if last is not None:
            log.info("%s: going on where it was stopped", stage.name)
        try:
            module = self._fit(stage, build, data, arguments, resume, last)
        except Exception as error:
            if last is None or resume.begun or isinstance(error, OSError):
                raise
            resume.put_aside(f"{type(error).__name__}: {str(error).splitlines()[0]}")  # nothing was trained from it
            barrier()
            resume = ResumePoint(stage.part, stage.key)
            module = self._fit(stage, build, data, arguments, resume, None)
        stage.seconds = resume.seconds + time.monotonic() - begun
        if is_rank_zero():
            stage.save({"state_dict": module.state_dict(), "cleanse_version": __version__})

    def _fit(
        self,
        stage: Stage,
        build: Callable[[], LightningModule],
        data: Any,
        arguments: Mapping[str, Any],
        resume: ResumePoint,
        last: Path | None,
    ) -> LightningModule:
        """One Trainer's fit, from the resume point ``last`` or from the start."""
        title = self._prefix + stage.name
        callbacks = [SeedEveryEpoch(stage.seed), EqualRows(), *self._watchers, resume, self.screen.started(title)]
        trainer = self._trainer(stage.part, callbacks, self.loggers(stage.part, title), arguments)
        with _seeded(stage.seed):
            module = build()
            if self.compile:
                compile_network(module, trainer)
            with _interruptible(), lost_process_in_words(), memory_kept():
                trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        for logger in trainer.loggers:
            logger.finalize("success")
        return module

    def _tabulate(self, stage: Stage, module: LightningModule, data: Any) -> None:
        callbacks = [self.screen.started(self._prefix + stage.name), EndsAtSigterm()]
        trainer = self._trainer(stage.part, callbacks, False, {})
        begun = time.monotonic()
        with _seeded(stage.seed), _interruptible(), lost_process_in_words(), memory_kept():
            batches = trainer.predict(module, datamodule=data, return_predictions=True) or []
        columns = {k: torch.cat([b[k].cpu() for b in batches]) for k in batches[0]} if batches else {}
        if in_group():  # on a small set a process may have no batch at all
            shards: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(shards, columns)
            shards = [s for s in shards if s]
            columns = {k: torch.cat([s[k] for s in shards]) for k in shards[0]}
        order = columns["index"].argsort()
        columns = {k: v[order] for k, v in columns.items()}
        if not torch.equal(columns["index"], torch.arange(len(data))):
            raise RuntimeError(f"stage {stage.name!r} predicted {len(order)} rows for {len(data)} images")
        stage.seconds = time.monotonic() - begun
        module.cpu()
        if is_rank_zero():
            stage.save(columns)

    def _trainer(self, part: Path, callbacks: list[Callback], loggers: Any, arguments: Mapping[str, Any]) -> Trainer:
        """A fresh Trainer with callbacks and loggers of its own."""
        own: dict[str, Any] = {
            **arguments,
            "default_root_dir": part,
            "callbacks": callbacks,
            "logger": loggers,
            "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
            "enable_model_summary": False,
            "use_distributed_sampler": False,  # the views shard by themselves, exactly
            "num_sanity_val_steps": 0,
            # exists for CUDA only, `EqualRows` has one for CPU; without effect on one process
            "sync_batchnorm": torch.cuda.is_available() and self.arguments.get("accelerator") != "cpu",
        }
        trainer = self.trainer(**own)
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, SLURMEnvironment):
            environment.auto_requeue = False  # `requeue_on_signal` does, and every resume point is ours
        return trainer


def _spec(data: Any) -> Any:
    if not callable(getattr(data, "spec", None)):
        raise ValueError(f"{type(data).__name__} does not describe itself: the data of a stage needs a spec() method")
    return describe(data.spec())


def _effective(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer arguments that can change a result, without the ones that are at rest."""
    return {k: describe(v) for k, v in arguments.items() if k not in WITHOUT_EFFECT and v is not None}


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Everything inside draws from ``seed``; what was drawn outside goes on as if nothing had happened."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        seed_everything(seed, workers=True, verbose=False)
        yield


class EndsAtSigterm(Callback):
    """Ends a pass over the data when it is asked to: Lightning looks for the signal while it trains, not here."""

    def on_predict_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.received_sigterm:
            raise SIGTERMException


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit; the command line wants to say something first."""
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


@contextmanager
def _full_disk_in_words(folder: Path) -> Iterator[None]:
    """Raises: OSError for a full disk, also where torch makes a RuntimeError of it."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if not full and not ("PytorchStreamWriter" in str(error) or "inline_container" in str(error)):
            raise
        raise OSError(
            f"no space left on the disk of {folder.parent}: make room, then the same command goes on from here"
        ) from error


__all__ = ["Runner", "StageData", "Table", "is_rank_zero"]
