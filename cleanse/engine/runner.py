"""The runner: every fit and predict of a recipe happens once, seeded, gathered and committed to disk."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from filelock import FileLock, Timeout
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from cleanse.engine.fingerprint import describe
from cleanse.engine.progress import Screen
from cleanse.utils.files import atomic_write, atomic_write_text
from cleanse.version import __version__

log = logging.getLogger("cleanse")

Module = TypeVar("Module", bound=LightningModule)
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
    ) -> None:
        self.root, self.seed, self.arguments = Path(root), seed, dict(arguments or {})
        if trainer is None and self.arguments.get("callbacks"):
            raise ValueError("callbacks would be shared between stages: give a trainer function that makes them anew")
        self.trainer = trainer or partial(Trainer, **self.arguments)
        self.loggers = loggers or (lambda directory, name: [])
        self.screen = screen or Screen(enabled=False)
        self.stages: list[tuple[str, Path]] = []
        self.seconds: dict[str, float] = {}
        self.computed = 0
        self.watchers: list[Callback] = []  # in every fit; they look on and change nothing, so no key has them
        self.prefix = ""  # of names on the screen and of metrics, where a stage's own name would occur twice

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
            ValueError: a stage asks for devices of its own, or for less than one epoch.
        """
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
        stage = self._stage(name, {"fit": describe(build), "data": _spec(data), "trainer": effective})
        with self._computing(stage) as part:
            if part is not None:
                self._train(stage, part, build, data, trainer_arguments)
        with _seeded(stage.seed):
            module = build()
        module.load_state_dict(
            torch.load(stage.directory / "model.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        )
        module.stage_key = stage.key  # type: ignore[assignment]
        return module.eval()

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
        stage = self._stage(name, {"predict": str(module.stage_key), "data": _spec(data), "trainer": effective})
        with self._computing(stage) as part:
            if part is not None:
                self._tabulate(stage, part, module, data)
        return Table(torch.load(stage.directory / "table.pt", map_location="cpu", weights_only=True))

    def generator(self, name: str, data: LightningDataModule) -> torch.Generator:
        """Randomness for a recipe's own use (ties), from the run's seed, a name and the data."""
        key = _key({"generator": name, "data": _spec(data), "seed": self.seed})
        return torch.Generator().manual_seed(_seed_of(key))

    def prepare(self, data: LightningDataModule) -> None:
        """Let rank zero download what ``data`` needs, before anybody reads it."""
        self._join_group()
        if is_rank_zero():
            data.prepare_data()
        _barrier()

    def fixed(self) -> dict[str, Any]:
        """The trainer arguments of the whole run that can change a result."""
        return _effective(self.arguments)

    # --- one stage ---
    def _stage(self, name: str, spec: dict[str, Any]) -> "Stage":
        stage = Stage(self.root, name, {"name": name, "seed": self.seed, **spec})
        self.stages.append((name, stage.directory))
        return stage

    @contextmanager
    def _computing(self, stage: "Stage") -> Iterator[Path | None]:
        """The directory to compute a stage in, or None when it is on disk already; commits afterwards."""
        self._join_group()
        self.root.mkdir(parents=True, exist_ok=True)
        with _only_one(stage.lock):
            if not _from_rank_zero(stage.is_committed):
                self.computed += 1
                if is_rank_zero():
                    stage.part.mkdir(parents=True, exist_ok=True)
                _barrier()
                yield stage.part
                if is_rank_zero():
                    stage.commit()
                _barrier()
                self.screen.finished(self.prefix + stage.name, stage.seconds)
            else:
                self.screen.skipped(stage.name)
                yield None
        self.seconds[stage.name] = self.seconds.get(stage.name, 0.0) + stage.seconds

    def _train(
        self, stage: "Stage", part: Path, build: Callable[[], LightningModule], data: Any, arguments: Mapping[str, Any]
    ) -> None:
        data.seed = stage.seed
        resume = ResumePoint(part / "last.ckpt")
        callbacks = [SeedEveryEpoch(stage.seed), *self.watchers, resume, self.screen.started(self.prefix + stage.name)]
        trainer = self._trainer(part, callbacks, self.loggers(part, self.prefix + stage.name), arguments)
        with _seeded(stage.seed):
            module = build()
            last = resume.path if _is_sound(resume.path) else None
            if last is not None:
                log.info("%s: going on where it was stopped", stage.name)
            begun = time.monotonic()
            with _interruptible():
                trainer.fit(module, datamodule=data, ckpt_path=last, weights_only=True)
        for logger in trainer.loggers:
            logger.finalize("success")
        stage.seconds = resume.seconds + time.monotonic() - begun
        if is_rank_zero():
            _save({"state_dict": module.state_dict(), "cleanse_version": __version__}, part / "model.ckpt")

    def _tabulate(self, stage: "Stage", part: Path, module: LightningModule, data: Any) -> None:
        trainer = self._trainer(part, [self.screen.started(self.prefix + stage.name)], False, {})
        begun = time.monotonic()
        with _seeded(stage.seed), _interruptible():
            batches = trainer.predict(module, datamodule=data, return_predictions=True) or []
        columns = {k: torch.cat([b[k].cpu() for b in batches]) for k in batches[0]} if batches else {}
        if _group():  # on a small set a process may have no batch at all
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
            _save(columns, part / "table.pt")

    def _trainer(self, part: Path, callbacks: list[Callback], loggers: Any, arguments: Mapping[str, Any]) -> Trainer:
        """A fresh Trainer with callbacks and loggers of its own (DESIGN section 1, rule 1)."""
        own: dict[str, Any] = {
            **arguments,
            "default_root_dir": part,
            "callbacks": callbacks,
            "logger": loggers,
            "enable_checkpointing": any(isinstance(c, Checkpoint) for c in callbacks),
            "enable_model_summary": False,
            "use_distributed_sampler": False,  # the views shard by themselves, exactly
            "num_sanity_val_steps": 0,
            "sync_batchnorm": torch.cuda.is_available(),  # exists for CUDA only; without effect on one process
        }
        return self.trainer(**own)

    def _join_group(self) -> None:
        """Under torchrun or SLURM, join the process group before the first question is asked of rank zero.

        Processes that Lightning starts itself join inside their first fit: until then they see the same disk, on
        which everything before that fit is committed.
        """
        if int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", "1"))) > 1 and not _group():
            trainer = self.trainer(logger=False, enable_checkpointing=False)
            environment = getattr(trainer.strategy, "cluster_environment", None)
            if trainer.world_size > 1 and not isinstance(environment, LightningEnvironment):
                trainer.strategy.setup_environment()


class Stage:
    """One directory on disk: made aside, renamed when complete."""

    def __init__(self, root: Path, name: str, spec: dict[str, Any]) -> None:
        self.name, self.spec, self.key = name, spec, _key(spec)
        self.seed = _seed_of(self.key)
        self.directory = root / f"{name}-{self.key}"
        self.part = root / f"{name}-{self.key}.part"
        self.lock = root / f".{name}-{self.key}.lock"
        self.seconds = 0.0

    def is_committed(self) -> bool:
        """Whether the stage is complete on disk; a damaged one is put aside with a warning."""
        if not self.directory.exists():
            return False
        try:
            record = json.loads((self.directory / "stage.json").read_text())
            for name, digest in record["files"].items():
                if _digest(self.directory / name) != digest:
                    raise ValueError(f"{name} has changed")
            self.seconds = float(record["seconds"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s is damaged (%s): it is made again", self.directory, error)
            shutil.rmtree(self.directory)
            return False
        if record.get("version") != __version__:
            log.warning("%s was made by cleanse %s, this is %s", self.directory, record.get("version"), __version__)
        return True

    def commit(self) -> None:
        """Complete: forget the resume point, write the record, rename."""
        (self.part / "last.ckpt").unlink(missing_ok=True)
        files = {p.name: _digest(p) for p in sorted(self.part.iterdir()) if p.suffix in {".ckpt", ".pt"}}
        record = {**self.spec, "key": self.key, "version": __version__, "seconds": self.seconds, "files": files}
        atomic_write_text(self.part / "stage.json", json.dumps(record, indent=1, sort_keys=True))
        self.part.replace(self.directory)


class SeedEveryEpoch(Callback):
    """Seed anew at the start of every epoch, so that a resumed stage draws what an uninterrupted one would."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.manual_seed((self.seed * 1_000_003 + 7919 * trainer.current_epoch + trainer.global_rank) % 2**63)


class ResumePoint(Checkpoint):
    """Write ``last.ckpt`` at the end of an epoch, at most every ``every`` seconds; count the seconds over restarts.

    Args:
        path: of the checkpoint.
        every: seconds; the first epoch's end always counts, so that even a short stage can be gone on with.
    """

    def __init__(self, path: Path, every: float = 10.0) -> None:
        self.path, self.every = path, float(os.environ.get("CLEANSE_CHECKPOINT_SECONDS", every))
        self.seconds, self._saved, self._begun = 0.0, float("-inf"), 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            return  # the stage is about to be committed
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self.every):
            trainer.save_checkpoint(self.path)  # Lightning writes aside and renames
            self._saved = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds + time.monotonic() - self._begun}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = float(state_dict["seconds"])


def is_rank_zero() -> bool:
    """Whether this process is the one that writes."""
    return getattr(rank_zero_only, "rank", 0) == 0


def _spec(data: Any) -> Any:
    if not callable(getattr(data, "spec", None)):
        raise ValueError(f"{type(data).__name__} does not describe itself: the data of a stage needs a spec() method")
    return describe(data.spec())


def _effective(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The trainer arguments that can change a result, without the ones that are at rest."""
    return {k: describe(v) for k, v in arguments.items() if k not in WITHOUT_EFFECT and v is not None}


def _key(spec: Any) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _seed_of(key: str) -> int:
    return int(key, 16) % 2**31


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(content: Any, path: Path) -> None:
    with atomic_write(path, "wb") as file:
        torch.save(content, file)


def _is_sound(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever is wrong with a resume point, the stage can begin afresh
        log.warning("%s cannot be read (%s): the stage begins afresh", path, type(error).__name__)
        return False
    return True


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Everything inside draws from ``seed``; what was drawn outside goes on as if nothing had happened."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        seed_everything(seed, workers=True, verbose=False)
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lightning turns Ctrl-C into an exit; the command line wants to say something first."""
    try:
        yield
    except SystemExit as stop:
        raise KeyboardInterrupt from stop


def _group() -> bool:
    return dist.is_available() and dist.is_initialized()


def _barrier() -> None:
    if _group():
        dist.barrier()


def _from_rank_zero(ask: Callable[[], bool]) -> bool:
    """Rank zero looks, everybody hears (when there is anybody to hear)."""
    if not _group():
        return ask()
    answer = [ask() if dist.get_rank() == 0 else False]
    dist.broadcast_object_list(answer, src=0)
    return answer[0]


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Two commands that need the same stage do not make it twice: the second one waits and reads.

    Under DDP rank zero holds the lock; the waiting is done in short turns that all ranks share, so that no process
    group runs into its time limit.
    """
    lock = FileLock(path)

    def taken() -> bool:
        if not is_rank_zero():
            return True
        try:
            lock.acquire(timeout=1.0)
        except Timeout:
            return False
        return True

    said = False
    while not _from_rank_zero(taken):
        if not said:
            log.info("another command is computing %s: waiting for it", path.name.strip(".").removesuffix(".lock"))
            said = True
    try:
        yield
    finally:
        lock.release()
        if is_rank_zero():
            path.unlink(missing_ok=True)
