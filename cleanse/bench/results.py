"""What a grid's cells came to: one Parquet file, a row for each cell, whoever ran it and whenever."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanse.bench.cell import AXES, CLEAN, Cell
from cleanse.bench.grid import Grid
from cleanse.report.leaderboard import COMPARED
from cleanse.utils.files import atomic_write, atomic_write_text, read_small
from cleanse.utils.lock import Lock
from cleanse.version import __version__

if TYPE_CHECKING:
    import pandas as pd

DONE, FAILED, MISSING = "done", "failed", "missing"
FIGURES = (
    "sa", "asr", "ra", "tmr", "tpr", "fpr", "auroc", "cover_flagged", "relabel_accuracy", "relabel_accuracy_all",
    "flagged", "fpr_clean", "baseline_flagged", "none_sa", "none_asr", "oracle_sa", "oracle_asr",
)  # fmt: skip
"""Fractions. ``flagged``: of all training images; ``fpr_clean``: of the same recipe on the same data without attack."""
PUBLISHED = tuple(f"published_{name}" for name in COMPARED)
COUNTS = ("kept", "relabelled", "dropped", "poisoned", "train_images", "test_images")
MOST_TIME = 1e11
"""Seconds since the epoch that an end of a cell may have: the year 5138."""
OF_THE_MACHINE = ("seconds", "seconds_here", "peak_memory_mb", "device", "ended")
"""Columns that another machine, or a stop in between, may change."""
TEXTS = (
    "cell",
    "recipe",
    "attack",
    "data",
    "change",
    "status",
    "failed",
    "given",
    "published_source",
    "run",
    "version",
)
COLUMNS = (
    "cell", *AXES, "status", "failed", *FIGURES, *COUNTS, "given", *PUBLISHED, "published_source",
    *OF_THE_MACHINE, "version", "run",
)  # fmt: skip


class GridResults:
    """The rows of a grid under a root.

    Every cell that has ended has a file of its own, written at once, so that none is lost whatever ends the others; the
    Parquet is made of all of them, by whoever has finished one.

    Args:
        grid: whose cells they are.
        root: directory of all runs.

    Attributes:
        parquet: ``<root>/bench/<grid>.parquet``.
        folder: of the rows, claims and logs.
    """

    def __init__(self, grid: Grid, root: str | Path) -> None:
        self.grid, self.root = grid, Path(root)
        self.folder = self.root / "bench" / grid.name
        self.parquet = self.root / "bench" / f"{grid.name}.parquet"
        self._read: dict[str, tuple[int, dict[str, Any]]] = {}
        self._next = 0.0

    def claim(self, cell: Cell) -> Lock:
        """The lock of who runs a cell."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Lock(self.folder / f".{cell.id}.lock")

    def row(self, cell: Cell) -> dict[str, Any] | None:
        """A cell's row; None if it has not ended, or its file is damaged."""
        path = self._path(cell)
        try:
            changed = path.stat().st_mtime_ns
            if cell.id in self._read and self._read[cell.id][0] == changed:
                return self._read[cell.id][1]
            found: dict[str, Any] = json.loads(read_small(path))
            if not _is_row(found):
                return None
        except (OSError, ValueError, RecursionError):
            return None
        self._read[cell.id] = (changed, found)
        return found

    def status(self, cell: Cell) -> str:
        """Whether a cell is ``done``, ``failed`` or ``missing``; done is what has its run still."""
        found = self.row(cell)
        if found is None:
            return MISSING
        if found["status"] == DONE and not (self.root / str(found.get("run")) / "results.json").is_file():
            return MISSING
        return str(found["status"])

    def left(self) -> list[Cell]:
        """The cells that have not ended."""
        return [cell for cell in self.grid.cells if self.status(cell) == MISSING]

    def began(self, cell: Cell) -> None:
        """Write down which process has begun a cell."""
        atomic_write_text(self.folder / f".{cell.id}.pid", str(os.getpid()))

    def ended(self, cell: Cell) -> None:
        """Forget which process has begun a cell."""
        (self.folder / f".{cell.id}.pid").unlink(missing_ok=True)

    def runner_of(self, cell: Cell) -> int:
        """The process that has begun a cell and not ended it; 0 if there is none."""
        try:
            return int(read_small(self.folder / f".{cell.id}.pid", 20))
        except (OSError, ValueError):
            return 0

    def forget_failed(self, cells: Sequence[Cell]) -> int:
        """Let failed cells be tried again; how many there were."""
        failed = [cell for cell in cells if self.status(cell) == FAILED]
        for cell in failed:
            self._path(cell).unlink(missing_ok=True)
        return len(failed)

    def write_done(self, cell: Cell, run: Path, results: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
        """Write down what a cell's run found.

        Args:
            cell: the cell.
            run: its directory.
            results: as in results.json.
            machine: values of `OF_THE_MACHINE`.
        """
        every = _number(results.get("train_images"))
        touched = (_number(results.get("relabelled")) or 0) + (_number(results.get("dropped")) or 0)
        given = results.get("given")
        figures = {k: _number(results.get(k)) for k in (*FIGURES, *COUNTS, "seconds")}
        figures["flagged"] = touched / every if every else None
        self._write(cell, {
            **figures, **machine, "status": DONE, "run": run.name, "version": str(results.get("version", __version__)),
            "given": ", ".join(map(str, given)) if isinstance(given, (list, tuple)) else str(given or ""),
        })  # fmt: skip

    def write_failed(self, cell: Cell, why: str, machine: Mapping[str, Any]) -> None:
        """Write down why a cell has no figures."""
        self._write(cell, {**machine, "status": FAILED, "failed": why, "version": __version__})

    def collect(self, at_once: bool = True) -> "pd.DataFrame | None":
        """Write the Parquet from all rows.

        Args:
            at_once: false: leave it to later where that takes a good part of the time, or another process is at it.

        Returns:
            the table; None if it was left to later.
        """
        if not at_once and time.monotonic() < self._next:
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(self.folder / ".table.lock")
        if not lock.acquire(120.0 if at_once else 0.0):
            return None
        try:
            begun = time.monotonic()
            table = self.table()
            with atomic_write(self.parquet, "wb") as file:
                table.to_parquet(file, index=False)
            self._next = time.monotonic() + 20 * (time.monotonic() - begun)
        finally:
            lock.release()
        return table

    def table(self) -> "pd.DataFrame":
        """One row for each cell of the grid, in the grid's order; a missing one has its place on the axes only."""
        import pandas as pd

        rows = []
        for cell in self.grid.cells:
            found = self.row(cell) or {}
            status = self.status(cell)
            axes = dict(zip(AXES, cell.names, strict=True))
            published = {f"published_{k}": v / 100 for k, v in cell.published.items()}
            own = found if status != MISSING else {}
            rows.append(
                {**own, **axes, **published, "cell": cell.id, "status": status, "published_source": cell.source}
            )
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        for name in COLUMNS:
            if name in TEXTS or name == "device":
                frame[name] = frame[name].astype(object).where(frame[name].notna(), "").astype(str)
            elif name == "ended":
                frame[name] = pd.to_datetime(frame[name], unit="s", utc=True)
            elif name == "seed":
                frame[name] = frame[name].astype("int64")
            else:
                frame[name] = pd.to_numeric(frame[name], errors="coerce").astype("float64")
        return _with_clean(frame)

    def _path(self, cell: Cell) -> Path:
        return self.folder / f"{cell.id}.json"

    def _write(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        about = {"title": cell.title, "command": cell.command(str(self.root))}
        atomic_write_text(self._path(cell), json.dumps({**about, **row, "ended": time.time()}, indent=1) + "\n")


def _with_clean(frame: "pd.DataFrame") -> "pd.DataFrame":
    """With the share of images that a recipe flags where there is no attack, beside its figures where there is one."""
    same = ["recipe", "data", "change", "seed"]
    clean = frame[frame["attack"] == CLEAN].drop_duplicates(same).set_index(same)["flagged"]
    keys = list(frame[same].itertuples(index=False, name=None))
    known = clean.to_dict()
    frame["fpr_clean"] = [float(known.get(key, float("nan"))) for key in keys]
    return frame


def _is_row(found: object) -> bool:
    """Whether a file that anybody may have written holds what a table can take."""
    if not isinstance(found, dict) or found.get("status") not in (DONE, FAILED):
        return False
    for value in found.values():
        if not (value is None or isinstance(value, (str, int, float))):
            return False
        if isinstance(value, (int, float)) and value == value and not abs(value) < 1e18:
            return False
    ended = _number(found.get("ended", 0.0))
    return ended is not None and 0 <= ended < MOST_TIME


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def figures_of(frame: "pd.DataFrame") -> "pd.DataFrame":
    """The table without what depends on the machine and on stops: equal for equal grids."""
    return frame.drop(columns=list(OF_THE_MACHINE))
