"""What a grid still has to do, before it does it."""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cleanse.bench.cell import Cell
from cleanse.bench.results import DONE, FAILED, MISSING, GridResults
from cleanse.bench.timing import TIMING
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.measured_step import Pace
from cleanse.engine.plan import Planned
from cleanse.engine.progress import duration
from cleanse.experiments.build import build
from cleanse.experiments.experiment import Setup, plan, plan_ahead, ready
from cleanse.experiments.messages import UsageError

SHOWN = 10
"""Cells, or trainings, that are named where something is not known of them."""


def plan_text(results: GridResults, timing: float = TIMING) -> str:
    """Cells, what is on disk, and how long the rest takes.

    The time is that of finished cells of the same kind, where there are some, and otherwise what a timed step of each
    kind of training says.

    Args:
        results: of the grid.
        timing: seconds after which no further step is timed; 0 for none at all.
    """
    cells = results.grid.cells
    status = {cell.id: results.status(cell) for cell in cells}
    count = Counter(status.values())
    lines = [f"{'status':8} {'cell':14} what"]
    lines += [f"{status[cell.id]:8} {cell.id:14} {cell.title}" for cell in cells]
    lines += ["", f"{len(cells)} cells: {count[DONE]} done, {count[FAILED]} failed, {count[MISSING]} to run"]
    left = [cell for cell in cells if status[cell.id] == MISSING]
    if left:
        known = _slowest(results, [cell for cell in cells if status[cell.id] == DONE])
        ahead = look_ahead(left, results.root, {cell.id for cell in left if _like(cell) in known}, timing)
        lines += [*_trainings(ahead), *_time(left, known, ahead)]
    return "\n".join(lines)


@dataclass
class Ahead:
    """What is known of the cells that are left, before the first one.

    Attributes:
        asked: trainings that the cells ask for.
        later: of them, those that see what an earlier stage leaves of the images.
        folders: of the others, where each will be.
        failing: titles of cells whose configs or arguments are wrong, by the reason.
        unknown: titles of cells of which nothing is known, by the reason.
        seconds: of the cells whose trainings were timed, without what an earlier cell of them makes.
        untimed: their trainings that were not, each with the reason.
        timing: seconds that may still be spent on it.
        paces: what was measured, by what else decides it.
    """

    timing: float
    asked: int = 0
    later: int = 0
    folders: set[Path] = field(default_factory=set)
    failing: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    untimed: dict[str, str] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)
    _timed: set[Path] = field(default_factory=set)

    def time(self, cell: Cell, setup: Setup, stages: Sequence[Planned]) -> None:
        """Add what a cell will take beside what is on disk and what cells before it make."""
        where = [setup.run.directory_of(stage) for stage in stages]
        there = {folder for folder in where if folder is not None and (folder in self._timed or folder.is_dir())}
        todo = [stage for stage, folder in zip(stages, where, strict=True) if folder not in there]
        self._timed |= {folder for folder in where if folder is not None}
        begun = time.monotonic()
        kind = hash_of([setup.run.fixed(), setup.run.arguments.get("accelerator"), setup.threads])
        setup.run.time(todo, self.paces.setdefault(kind, {}), begun + self.timing)
        self.timing = max(0.0, self.timing - (time.monotonic() - begun))
        why = "its first step failed" if self.timing else "the time for it was over"
        why = setup.run.why_not_timed() or why
        self.seconds[cell.id] = sum(stage.seconds or 0.0 for stage in todo)
        self.untimed |= {f"{cell.title}: {stage.name}": why for stage in todo if stage.seconds is None}


def look_ahead(cells: Sequence[Cell], root: Path, known: set[str], timing: float) -> Ahead:
    """Plan the cells that are left, one after another, and time those that are not known.

    Of a training that sees what an earlier stage leaves of the images, or what an attack that trains a model makes of
    them, only their number is known.
    """
    ahead = Ahead(timing)
    for cell in cells:
        try:
            setup = build(cell.configs, {**cell.overrides, "root": str(root)})
            ready(setup.data, setup.run, setup.threads)
            stages = plan_ahead(setup) if setup.data.plan_attack() else plan(setup, setup.data.training_view())
            if stages is None:
                raise ValueError("its recipe says nothing of its stages")
        except UsageError as error:
            ahead.failing.setdefault(" ".join(str(error).split()), []).append(cell.title)
            continue
        except Exception as error:  # an attack of the user's own may need what it has not learned yet
            kind = "" if isinstance(error, (ValueError, OSError)) else f"{type(error).__name__}: "
            ahead.unknown.setdefault(kind + " ".join(str(error).split()), []).append(cell.title)
            continue
        fits = [setup.run.directory_of(stage) for stage in stages if stage.epochs]
        ahead.asked += len(fits)
        ahead.later += fits.count(None)
        ahead.folders |= {folder for folder in fits if folder is not None}
        if cell.id not in known:
            ahead.time(cell, setup, stages)
    return ahead


def _trainings(ahead: Ahead) -> list[str]:
    """How many trainings the cells ask for, and how many of them differ."""
    there = sum(folder.is_dir() for folder in ahead.folders)
    lines = [
        f"{ahead.asked} trainings are asked for: {ahead.asked - ahead.later} are known before the first, of which "
        f"{len(ahead.folders)} are distinct and {there} on disk, and {ahead.later} depend on what earlier stages find"
    ]
    for what, cells in (("these will fail", ahead.failing), ("nothing is known of", ahead.unknown)):
        reasons = [f"{names[0]}{_more(len(names) - 1)}: {why}" for why, names in cells.items()]
        lines += _some(f"{what} ({_cells(sum(map(len, cells.values())))})", reasons)
    if any("there is no argument" in why for why in ahead.failing):
        lines.append("  what only some recipes, attacks or data take has a `for` that names them")
    return lines


def _slowest(results: GridResults, done: Sequence[Cell]) -> dict[tuple[str, str, str], float]:
    """Seconds of the slowest finished cell of each kind, in the process that ran it."""
    seconds: dict[tuple[str, str, str], float] = {}
    for cell in done:
        took = float((results.row(cell) or {}).get("seconds_here") or 0.0)
        seconds[_like(cell)] = max(took, seconds.get(_like(cell), 0.0))
    return seconds


def _time(left: Sequence[Cell], known: dict[tuple[str, str, str], float], ahead: Ahead) -> list[str]:
    """How long the cells that are left take in one process, by what that is known, and what is not."""
    like = [cell for cell in left if _like(cell) in known]
    unknown = [cell for cell in left if _like(cell) not in known and cell.id not in ahead.seconds]
    lines, total = [], 0.0
    if like:
        total += (seconds := sum(known[_like(cell)] for cell in like))
        lines.append(f"at most {duration(seconds)} for {_cells(len(like))}, by the slowest of their kind that has run")
    if ahead.seconds:
        total += (seconds := sum(ahead.seconds.values()))
        some = f" but for {len(ahead.untimed)} stages that were not timed" if ahead.untimed else ""
        lines.append(
            f"about {duration(seconds)} for {_cells(len(ahead.seconds))}{some}: an estimate, from a timed step of each "
            "kind of training on this machine"
        )
        lines += _some("not timed", (f"{name} ({why})" for name, why in ahead.untimed.items()))
    if unknown:
        lines.append(f"how long {_cells(len(unknown))} will take is not known")
    if like and ahead.seconds:
        lines.append(f"about {duration(total)} in all, in one process")
    return lines


def _some(what: str, items: Iterable[str]) -> list[str]:
    """A heading and the first few items; nothing if there are none."""
    every = list(items)
    more = [f"  and {len(every) - SHOWN} more"] if len(every) > SHOWN else []
    return [f"{what}:", *(f"  {item}" for item in every[:SHOWN]), *more] if every else []


def _more(count: int) -> str:
    return f" and {count} more {'cell' if count == 1 else 'cells'}" if count else ""


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _like(cell: Cell) -> tuple[str, str, str]:
    return cell.recipe, cell.data, cell.change
