"""What a grid of many cells costs besides its trainings: reading it, looking for work, its table, locks, pruning.

    python benchmarks/grid_scale.py [CELLS]

Cells have rows and empty runs that nothing was trained for.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cleanse.bench.grid import read_grid
from cleanse.bench.results import GridResults
from cleanse.engine.stage_store import stored_stages
from cleanse.utils.lock import Lock


@contextmanager
def timed(what: str) -> Iterator[Callable[[float], None]]:
    begun = time.perf_counter()
    more: list[float] = []
    yield more.append
    took = time.perf_counter() - begun
    each = f", {1e6 * took / more[0]:.0f} us each" if more else ""
    print(f"{what}: {took:.3f} s{each}")


def main(cells: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        seeds = cells // 10
        text = f"recipes: [knn, energy, flow]\nattacks: [badnets, blend]\nseeds: {list(range(seeds))}\n"
        (root / "large.yaml").write_text(text)
        with timed("read the grid and hash its cells") as each:
            grid = read_grid(str(root / "large.yaml"))
            ids = {cell.id for cell in grid.cells}
            each(len(ids))
        print(f"{len(grid.cells)} cells")
        results = GridResults(grid, root / "runs")
        with timed("make runs and rows") as each:
            for cell in grid.cells:
                run = root / "runs" / f"knn-digits-{cell.id}"
                (run / "stages").mkdir(parents=True)
                (run / "results.json").write_text("{}")
                stage = root / "runs" / f"simclr-{cell.id}"
                stage.mkdir()
                (stage / "stage.json").write_text(json.dumps({"seconds": 1.0}))
                (run / "stages" / "1-simclr").symlink_to(f"../../{stage.name}")
                results.write_done(cell, run, {"sa": 0.9, "train_images": 100}, {})
            each(len(grid.cells))
        fresh = GridResults(grid, root / "runs")
        for what in ("look for work, all rows unread", "look for work again"):
            with timed(what) as each:
                assert fresh.left() == []
                each(len(grid.cells))
        for what in ("write the table", "write the table again"):
            with timed(what) as each:
                fresh.collect()
                each(len(grid.cells))
        print(f"table: {fresh.parquet.stat().st_size / len(grid.cells):.0f} bytes a cell")
        with timed("take and release a lock") as each:
            for i in range(1000):
                lock = Lock(root / f".{i}.lock")
                assert lock.acquire()
                lock.release()
            each(1000)
        with timed("list all stages and their runs") as each:
            each(len(stored_stages(root / "runs")))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
