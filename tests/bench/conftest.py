"""Grids of a few lines, and cells that only pretend to train."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cleanse.bench.cell import Cell
from cleanse.bench.grid import Grid, read_grid

MakeGrid = Callable[..., Grid]


@pytest.fixture
def make_grid(tmp_path: Path) -> MakeGrid:
    """A grid from yaml text; its configs are empty files unless they ship."""

    def make(text: str, name: str = "mine") -> Grid:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return read_grid(str(path))

    return make


def pretend(cell: Cell, root: Path, seconds: float = 0.0) -> Any:
    """What `run_cell` leaves: a run's directory with figures that depend on the cell alone."""
    time.sleep(seconds)
    run = root / f"run-{cell.id}"
    run.mkdir(parents=True, exist_ok=True)
    figure = int(cell.id, 16) % 1000 / 1000
    results = {
        "sa": figure, "asr": None if cell.attack == "clean" else 1 - figure, "kept": 80, "relabelled": 15, "dropped": 5,
        "train_images": 100, "seconds": 2.0, "given": "8 clean images of each class", "version": "1",
    }  # fmt: skip
    (run / "results.json").write_text(json.dumps(results))
    return SimpleNamespace(directory=run, results=results)
