"""What a grid still has to do, before it does it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cleanse.attacks import Attack
from cleanse.bench.cell import Cell
from cleanse.bench.results import DONE, FAILED, MISSING, GridResults
from cleanse.experiments.build import build
from cleanse.experiments.experiment import plan, prepare


def plan_text(results: GridResults) -> str:
    """Cells, what is on disk, and how long the rest takes, from the seconds of cells that are done."""
    cells, rows = results.grid.cells, {}
    status = {cell.id: results.status(cell) for cell in cells}
    count = Counter(status.values())
    for cell in cells:
        if status[cell.id] == DONE:
            rows[cell.id] = results.row(cell) or {}
    lines = [f"{'status':8} {'cell':14} what"]
    lines += [f"{status[cell.id]:8} {cell.id:14} {cell.title}" for cell in cells]
    lines.append("")
    lines.append(f"{len(cells)} cells: {count[DONE]} done, {count[FAILED]} failed, {count[MISSING]} to run")
    left = [cell for cell in cells if status[cell.id] == MISSING]
    return "\n".join([*lines, *_trainings(left, results.root), *_hours(results, status)])


def _trainings(cells: Sequence[Cell], root: Path) -> list[str]:
    """How many trainings the cells ask for, and how many of them differ, as far as one can know before the first one.

    Of a cell whose attack trains a model nothing is known, and nothing of a training that sees what an earlier stage
    leaves of the images.
    """
    asked = later = 0
    folders: set[Path] = set()
    unknown: list[str] = []
    for cell in cells:
        try:
            setup = build(cell.configs, {**cell.overrides, "root": str(root)})
            if setup.data.attack is not None and type(setup.data.attack).learn is not Attack.learn:
                raise ValueError("its attack trains a model")
            prepare(setup.data, setup.run, setup.threads)
            stages = plan(setup, setup.data.training_view())
            if stages is None:
                raise ValueError("its recipe says nothing of its stages")
        except (ValueError, OSError) as error:
            unknown.append(f"  {cell.title}: {' '.join(str(error).split())}")
            continue
        fits = [stage for stage in stages if stage.epochs]
        found = [setup.run.directory_of(stage) for stage in fits]
        asked += len(fits)
        later += found.count(None)
        folders |= {folder for folder in found if folder is not None}
    if not cells:
        return []
    there = sum(folder.is_dir() for folder in folders)
    lines = [
        f"{asked} trainings: {len(folders)} distinct ones that are known before the first, {there} of them on disk, "
        f"and {later} that depend on what an earlier stage finds"
    ]
    return lines + ([f"nothing is known of {len(unknown)} cells:", *unknown[:10]] if unknown else [])


def _hours(results: GridResults, status: dict[str, str]) -> list[str]:
    """The time that is left, as far as cells like the ones that are left have been measured."""
    seconds: dict[tuple[str, str, str], list[float]] = {}
    for cell in results.grid.cells:
        if status[cell.id] == DONE:
            seconds.setdefault(_like(cell), []).append(float((results.row(cell) or {}).get("seconds_here") or 0.0))
    left = [cell for cell in results.grid.cells if status[cell.id] == MISSING]
    known = [cell for cell in left if _like(cell) in seconds]
    if not left:
        return []
    total = sum(max(seconds[_like(cell)]) for cell in known)
    lines = [
        f"at most {total / 3600:.2f} hours in one process for {len(known)} of them, by the slowest cell of their kind"
    ]
    if len(known) < len(left):
        lines.append(
            f"nothing is known of the other {len(left) - len(known)}: no cell of their recipe and data has run"
        )
    return lines


def _like(cell: Cell) -> tuple[str, str, str]:
    return cell.recipe, cell.data, cell.change
