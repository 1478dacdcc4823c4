"""Loggers of a run of many stages: CSV for each stage always, and what the user chose, with one prefix per stage."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only


class StageLoggers:
    """Hands every stage its loggers.

    Args:
        chosen: what the trainer section's ``logger`` came to: a logger, a list of them, a bool or None.
        root: where a W&B run is kept on disk when its logger does not say.
    """

    def __init__(self, chosen: Any, root: Path) -> None:
        listed = chosen if isinstance(chosen, (list, tuple)) else [chosen]
        self.chosen = [logger for logger in listed if isinstance(logger, Logger)]
        if any(isinstance(logger, WandbLogger) for logger in self.chosen):
            _never_ask(root)

    def for_stage(self, directory: Path, name: str) -> list[Logger]:
        """Fresh loggers for one stage; a resumed stage goes on in a file of its own, so that nothing is overwritten."""
        taken = len(list(directory.glob("metrics-*"))) if directory.exists() else 0
        return [
            CSVLogger(directory, name="", version=f"metrics-{taken + 1}"),
            *(Prefixed(c, name) for c in self.chosen),
        ]

    @rank_zero_only  # type: ignore[untyped-decorator]
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

    @rank_zero_only  # type: ignore[untyped-decorator]
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        named = {f"{self.stage}/{k}": v for k, v in metrics.items()}
        if not isinstance(self.inner, WandbLogger):
            self.inner.log_metrics(named, step)
            return
        if not self._announced:
            self.inner.experiment.define_metric(f"{self.stage}/*", step_metric=f"{self.stage}/step")
            self._announced = True
        self.inner.experiment.log({**named, f"{self.stage}/step": step})


def _never_ask(root: Path) -> None:
    """W&B online when a key is configured, offline otherwise; never a prompt."""
    import wandb

    root.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DIR", str(root.absolute()))
    if "WANDB_MODE" not in os.environ and not wandb.login(prompt=False, verify=False):
        os.environ["WANDB_MODE"] = "offline"
