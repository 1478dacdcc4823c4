"""What a grid shares, what a cached cell costs, and what a second process brings.

    python benchmarks/grid.py [GRID] [--root DIR] [--workers]

Runs GRID (grids/quick.yaml) in one process, again from its stages (rows removed), and with --workers in fresh roots
with one and with two processes, each of one thread. For a machine that does nothing else.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from cleanse.bench.executors import worker_command
from cleanse.bench.grid import read_grid
from cleanse.bench.part import Part, run_part
from cleanse.bench.results import GridResults, figures_of


def sharing(results: GridResults) -> tuple[int, int]:
    """Trainings that the cells ask for, and trainings that were made: stages with a model."""
    asked, made = 0, set()
    for cell in results.grid.cells:
        row = results.row(cell)
        if row is None or row["status"] != "done":
            continue
        for link in (results.root / row["run"] / "stages").iterdir():
            if (link / "model.ckpt").is_file():
                asked += 1
                made.add(os.path.realpath(link))
    return asked, len(made)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("grid", nargs="?", default="grids/quick.yaml")
    parser.add_argument("--root", default=None)
    parser.add_argument("--workers", action="store_true")
    arguments = parser.parse_args()
    folder = Path(arguments.root or tempfile.mkdtemp(prefix="grid-"))
    part = Part(arguments.grid, str(folder / "one"))
    begun = time.monotonic()
    results = run_part(part)
    one = time.monotonic() - begun
    before = figures_of(results.table())
    asked, made = sharing(results)
    print(
        f"{len(results.grid.cells)} cells in {one:.1f} s: {asked} trainings asked for, {made} made: {asked / made:.2f}"
    )
    for row in results.folder.glob("*.json"):
        row.unlink()
    begun = time.monotonic()
    table = run_part(part).table()
    again = time.monotonic() - begun
    seconds = table["seconds_here"]
    print(
        f"again from its stages: {again:.1f} s, {again / len(seconds):.2f} s a cell, median of a cell "
        f"{seconds.median():.2f} s, longest after the first {seconds.sort_values().iloc[-2]:.2f} s"
    )
    print("the same figures:", figures_of(table).equals(before))
    if arguments.workers:
        # as one command each, so that both pay for starting Python
        took = []
        for workers in (1, 2):
            root = str(folder / f"workers{workers}")
            begun = time.monotonic()
            command = [*worker_command(arguments.grid, root), "--workers", str(workers)]
            subprocess.run(command, check=True, stdout=sys.stderr)
            took.append(time.monotonic() - begun)
            same = figures_of(GridResults(read_grid(arguments.grid), root).table()).equals(before)
            print(f"{workers} workers: {took[-1]:.1f} s, the same figures: {same}")
        print(f"2 workers are {took[0] / took[1]:.2f} times as fast as one")


if __name__ == "__main__":
    main()
