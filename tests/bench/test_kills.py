"""Workers with real cells are killed at random moments: the table is that of an undisturbed grid.

CLEANSE_KILLS=100 pytest -s tests/bench/test_kills.py
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cleanse.bench.grid import read_grid
from cleanse.bench.results import GridResults, figures_of
from cleanse.bench.worker import in_turn, run_cells

KILLS = int(os.environ.get("CLEANSE_KILLS", "2"))
GRID = """
recipes:
  none: {configs: none.yaml, overrides: {model.epochs: 2}}
  oracle: {configs: oracle.yaml, overrides: {model.epochs: 2}}
  knn:
    configs: knn.yaml
    overrides: {model.pretrain_epochs: 2, model.pretrain_batch_size: 40, model.epochs: 2, model.probe_epochs: 2}
attacks: [clean, badnets]
data: {digits: quick.yaml}
rates: [0.1]
overrides: {data.limit_train: 80, data.limit_test: 40}
"""


def fork(results: GridResults, worker: int) -> int:
    """A process of its own that runs the cells of a grid, as one of two; its id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sys.stderr = open(os.devnull, "w")  # noqa: SIM115
            run_cells(in_turn(results.grid.cells, worker, 2), results)
            status = 0
        finally:
            os._exit(status)
    return pid


@pytest.mark.slow
def test_after_each_kill_the_table_is_that_of_an_undisturbed_grid(tmp_path: Path) -> None:
    """One of two processes is killed; the other one does what it has left. This process itself trains nothing."""
    (tmp_path / "tiny.yaml").write_text(GRID)
    grid = read_grid(str(tmp_path / "tiny.yaml"))
    undisturbed = GridResults(grid, tmp_path / "undisturbed")
    begun = time.monotonic()
    assert [os.waitpid(pid, 0)[1] for pid in (fork(undisturbed, 0), fork(undisturbed, 1))] == [0, 0]
    whole = time.monotonic() - begun
    expected = figures_of(pd.read_parquet(undisturbed.parquet))
    assert expected["status"].tolist() == ["done"] * 5
    draw, kills, again = random.Random(0), 0, 0
    while kills < KILLS:
        results = GridResults(grid, tmp_path / "runs")
        workers = [fork(results, 0), fork(results, 1)]
        draw.shuffle(workers)
        one, other = workers
        time.sleep(draw.uniform(0, whole))
        os.kill(one, signal.SIGKILL)
        kills += os.WIFSIGNALED(os.waitpid(one, 0)[1])  # it may have ended before
        assert os.waitpid(other, 0)[1] == 0
        pd.testing.assert_frame_equal(figures_of(pd.read_parquet(results.parquet)), expected)
        again += 1
        shutil.rmtree(tmp_path / "runs")
        print(f"{kills} kills, {again} tables that are whole, {time.monotonic() - begun:.0f} s", flush=True)
