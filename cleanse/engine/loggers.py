"""Loggers of a run of many stages: CSV for each stage always, and what the user chose, with one prefix per stage."""

import netrc
import os
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from cleanse.utils.files import atomic_write_text, read_small

Tables = Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]]
"""Columns and rows by name; a tensor in a cell is a (C, H, W) uint8 picture."""
Pictures = Mapping[str, Sequence[tuple[Tensor, str]]]
"""(C, H, W) uint8 and a caption each, by name."""


class StageLoggers:
    """Hands every stage its loggers.

    Args:
        chosen: what the trainer section's ``logger`` came to: a logger, a list of them, a bool or None.
        record: a file that holds the id of the W&B run until the command has ended, so that a killed one is gone on
            with under the same id; None for a new run every time.
    """

    def __init__(self, chosen: Any, record: Path | None = None) -> None:
        listed = chosen if isinstance(chosen, (list, tuple)) else [chosen]
        self.chosen = [logger for logger in listed if isinstance(logger, Logger)]
        for logger in self.chosen:
            if isinstance(logger, WandbLogger):
                logger._wandb_init.pop("anonymous", None)  # W&B warns about it, and Lightning always passes it
                if logger.save_dir:  # a service of W&B that a parent process began has another working directory
                    logger._wandb_init["dir"] = logger._save_dir = str(Path(logger.save_dir).absolute())
                _never_ask()
        self.record = record if self.has_wandb else None
        if self.record is not None:
            self._same_run(self.record)

    def for_stage(self, directory: Path, name: str) -> list[Logger]:
        """Fresh loggers for one stage; a resumed stage goes on in a file of its own, so that nothing is overwritten."""
        names = (f"metrics-{number}" for number in count(1))
        free = next(name for name in names if not os.path.lexists(directory / name))
        return [
            CSVLogger(directory, name="", version=free),
            *(Prefixed(c, name) for c in self.chosen),
        ]

    @property
    def has_wandb(self) -> bool:
        """Whether there is a dashboard to fill."""
        return any(isinstance(logger, WandbLogger) for logger in self.chosen)

    @rank_zero_only
    def _same_run(self, record: Path) -> None:
        """Give W&B the id of the run that a killed command has begun, or a new one, which is written down."""
        try:
            id = read_small(record, 100).decode("ascii").strip()
        except (OSError, ValueError):
            id = ""
        if not re.fullmatch("[0-9a-f]{8}", id):
            id = secrets.token_hex(4)
            record.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_text(record, id + "\n")
        for logger in self.chosen:
            if isinstance(logger, WandbLogger) and logger._wandb_init.get("id") is None:
                logger._wandb_init.update(id=id, resume="allow")
                logger._id = id

    @rank_zero_only
    def show(self, tables: Tables, pictures: Pictures) -> None:
        """Put tables and pictures into the W&B run, under ``report/``; other loggers have no place for them."""
        for logger in self.chosen:
            if isinstance(logger, WandbLogger):
                import wandb

                shown: dict[str, Any] = {}
                for name, (columns, rows) in tables.items():
                    cells: list[Iterable[Any]] = [
                        [_picture(x) if isinstance(x, Tensor) else x for x in row] for row in rows
                    ]
                    shown[f"report/{name}_table"] = wandb.Table(columns=list(columns), data=cells)
                for name, images in pictures.items():
                    shown[f"report/{name}"] = [_picture(image, caption) for image, caption in images]
                logger.experiment.log(shown)

    @rank_zero_only
    def summarize(self, results: Mapping[str, Any]) -> None:
        """Put a run's figures where each logger shows a run's summary, and close it."""
        figures = {
            k: v for k, v in results.items() if isinstance(v, (int, float, str)) and not k.startswith("seconds_")
        }
        for logger in self.chosen:
            if isinstance(logger, WandbLogger):
                logger.experiment.summary.update(figures)
                logger.experiment.finish()
            else:
                logger.log_metrics({k: float(v) for k, v in figures.items() if not isinstance(v, str)})
                logger.finalize("success")
        if self.record is not None:
            self.record.unlink(missing_ok=True)


class Prefixed(Logger):
    """One stage's share of a logger that lives as long as the command.

    Args:
        inner: the shared logger.
        stage: prefix of the metrics' names; W&B also gets a step axis of the stage's own.
    """

    def __init__(self, inner: Logger, stage: str) -> None:
        super().__init__()
        self.inner, self.stage, self._announced = inner, stage, False

    @property
    def name(self) -> str | None:
        return self.inner.name

    @property
    def version(self) -> int | str | None:
        return self.inner.version

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """A stage's modules keep none; the run's config is in its directory."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        named = {f"{self.stage}/{k}": v for k, v in metrics.items()}
        if not isinstance(self.inner, WandbLogger):
            self.inner.log_metrics(named, step)
            return
        if not self._announced:
            self.inner.experiment.define_metric(f"{self.stage}/*", step_metric=f"{self.stage}/step")
            self._announced = True
        self.inner.experiment.log({**named, f"{self.stage}/step": step})


def _picture(image: Tensor, caption: str | None = None) -> Any:
    """A (C, H, W) uint8 tensor for W&B."""
    import wandb
    from PIL import Image

    pixels = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    return wandb.Image(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()), caption=caption)


def _never_ask() -> None:
    """W&B online when a key is configured, offline otherwise; never a prompt."""
    if not os.environ.get("WANDB_MODE") and not _has_key():
        os.environ["WANDB_MODE"] = "offline"  # read by W&B at its first use, which is later


def _has_key() -> bool:
    """Whether a W&B key is in the environment or, after ``wandb login``, in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return server in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
