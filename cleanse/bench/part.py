"""A part of a grid, as a process gets it."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cleanse.bench.cell import Cell
from cleanse.bench.grid import read_grid
from cleanse.bench.results import GridResults
from cleanse.bench.worker import in_turn, run_cell, run_cells, shard_of
from cleanse.engine.progress import speaking_as
from cleanse.experiments.experiment import Experiment


@dataclass(frozen=True)
class Part:
    """What a process runs of a grid.

    Attributes:
        grid: its file, or the name of a shipped one.
        root: directory of all runs.
        shard: (i, n): the i-th of n parts, from 1, and no other cell.
        worker: (i, n): all cells, beside n - 1 others that do the same.
        only: ids of the cells; empty for all.
        wandb: arguments of a W&B logger for each cell; None for no W&B.
    """

    grid: str
    root: str = "runs"
    shard: tuple[int, int] = (1, 1)
    worker: tuple[int, int] = (1, 1)
    only: tuple[str, ...] = ()
    wandb: dict[str, str] | None = field(default=None)


def run_part(part: Part) -> GridResults:
    """Run a part of a grid to its end.

    Returns:
        the results of the whole grid, as far as they are there.

    Raises:
        ValueError: the grid or the part makes no sense.
    """
    results = GridResults(read_grid(part.grid), part.root)
    cells = [cell for cell in results.grid.cells if not part.only or cell.id in part.only]
    cells = shard_of(cells, *part.shard)
    index, workers = part.worker
    with speaking_as(f"worker {index}" if workers > 1 else ""):
        run_cells(in_turn(cells, index - 1, workers), results, partial(_logged, part))
    return results


def _logged(part: Part, cell: Cell, root: Path) -> Experiment:
    """Run a cell, with a W&B run of its own where one is wanted."""
    if part.wandb is None:
        return run_cell(cell, root)
    arguments = {"name": cell.title, "save_dir": str(root / "bench"), "project": part.wandb["project"]}
    logger = {
        "class_path": "lightning.pytorch.loggers.WandbLogger",
        "init_args": arguments,
        "dict_kwargs": {"group": part.wandb["group"], "job_type": "cell"},
    }
    try:
        return run_cell(cell, root, logger)
    finally:  # the run of a cell that failed or was put off would go on with the next cell
        import wandb

        if wandb.run is not None:
            wandb.finish()
