"""A grid's table in W&B, beside the runs of its cells."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch.loggers import WandbLogger

from cleanse.engine.loggers import StageLoggers

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (
    "recipe", "change", "attack", "data", "rate", "seed", "status", "failed", "sa", "asr", "ra", "tmr", "tpr", "fpr",
    "auroc", "relabel_accuracy", "fpr_clean", "given", "published_sa", "published_asr", "seconds", "peak_memory_mb",
)  # fmt: skip


def show_table(table: "pd.DataFrame", grid: str, wandb: Mapping[str, str], folder: Path) -> None:
    """Save the table as a run of the grid's group; its summary has mean SA and ASR by recipe, attack and data.

    Args:
        table: of the grid.
        grid: its name.
        wandb: ``project`` and ``group``.
        folder: where W&B writes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name=f"{grid} table", save_dir=str(folder), project=wandb["project"], group=wandb["group"], job_type="table"
    )
    loggers = StageLoggers(logger)
    rows = [[_plain(value) for value in row] for row in table[list(SHOWN)].itertuples(index=False, name=None)]
    loggers.show({grid: (SHOWN, rows)}, {})
    loggers.summarize(summary_of(table))


def summary_of(table: "pd.DataFrame") -> dict[str, Any]:
    """``knn/badnets/digits/sa`` and the like: means over seeds and rates; and how many cells ended how."""
    found: dict[str, Any] = {f"cells_{k}": int(n) for k, n in table["status"].value_counts().items()}
    names = ["recipe", "attack", "data"]
    for key, rows in table[table["change"] == ""].groupby(names):
        for figure in ("sa", "asr"):
            if rows[figure].notna().any():
                found["/".join([*(str(k) for k in key if k), figure])] = float(rows[figure].mean())
    return found


def _plain(value: Any) -> Any:
    """A number or a text; None for what is not there."""
    return None if value is None or value != value else value
