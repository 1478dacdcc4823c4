"""What a grid still has to do, before it does it."""

from collections import Counter

from cleanse.bench.cell import Cell
from cleanse.bench.results import DONE, FAILED, MISSING, GridResults


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
    return "\n".join([*lines, *_hours(results, status)])


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
