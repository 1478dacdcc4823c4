"""Cells are run once, whoever runs them and whatever ends them in between."""

import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cleanse.bench.cell import Cell
from cleanse.bench.results import GridResults, figures_of
from cleanse.bench.worker import peak_memory, run_cells, shard_of
from cleanse.engine.lock import StageBusy
from cleanse.utils.lock import Lock

from .conftest import MakeGrid, pretend

GRID = "recipes: [knn]\nattacks: [clean, badnets]\ndata: {digits: quick.yaml}\n"
KILLS = int(os.environ.get("CLEANSE_KILLS", "20"))
"""100 for the whole measurement."""


def whole(results: GridResults) -> pd.DataFrame:
    return figures_of(pd.read_parquet(results.parquet))


@pytest.fixture
def expected(make_grid: MakeGrid, tmp_path: Path) -> pd.DataFrame:
    """The table of a process that nobody disturbs."""
    results = GridResults(make_grid(GRID), tmp_path / "undisturbed")
    run_cells(results.grid.cells, results, pretend)
    return whole(results)


def test_a_row_for_each_cell_with_its_figures(expected: pd.DataFrame) -> None:
    assert expected["status"].tolist() == ["done"] * 5
    assert expected["sa"].notna().all()
    assert expected.loc[expected["attack"] == "clean", "asr"].isna().all()
    assert set(expected["given"]) == {"8 clean images of each class"}


def test_what_a_recipe_flags_without_an_attack_is_beside_its_figures(expected: pd.DataFrame) -> None:
    known = expected[expected["recipe"] == "knn"]
    assert known["fpr_clean"].tolist() == [0.2, 0.2]
    assert expected.loc[expected["recipe"] == "oracle", "fpr_clean"].isna().all()


def test_shards_unite_to_the_table(make_grid: MakeGrid, tmp_path: Path, expected: pd.DataFrame) -> None:
    results = GridResults(make_grid(GRID), tmp_path / "runs")
    for i in (2, 1, 3):
        run_cells(shard_of(results.grid.cells, i, 3), results, pretend)
    pd.testing.assert_frame_equal(whole(results), expected)


def test_done_cells_are_not_run_again(make_grid: MakeGrid, tmp_path: Path) -> None:
    results = GridResults(make_grid(GRID), tmp_path / "runs")
    run_cells(results.grid.cells, results, pretend)

    def never(cell: Cell, root: Path) -> Any:
        raise AssertionError("it was run again")

    run_cells(results.grid.cells, results, never)
    assert set(whole(results)["status"]) == {"done"}


def test_a_cell_whose_run_is_gone_is_run_again(make_grid: MakeGrid, tmp_path: Path) -> None:
    results = GridResults(make_grid(GRID), tmp_path / "runs")
    run_cells(results.grid.cells, results, pretend)
    gone = results.grid.cells[2]
    (tmp_path / "runs" / f"run-{gone.id}" / "results.json").unlink()
    assert [cell.id for cell in results.left()] == [gone.id]


@pytest.mark.parametrize(
    "row",
    [
        "[" * 50_000, "[1]", '{"status": "done"', '{"status": "done", "ended": "yesterday"}',
        '{"status": "failed", "ended": 1e300}', '{"status": "failed", "seconds": 1' + "0" * 400 + "}",
        '{"status": "failed", "sa": [1]}', '{"status": "failed", "sa": Infinity}',
    ],
    ids=["nested", "list", "torn", "time", "late", "huge", "list in it", "infinite"],
)  # fmt: skip
def test_a_row_that_is_damaged_or_a_strangers_is_that_of_a_missing_cell(
    make_grid: MakeGrid, tmp_path: Path, row: str
) -> None:
    results = GridResults(make_grid(GRID), tmp_path)
    cell = results.grid.cells[0]
    results.write_failed(cell, "why", {})
    assert results.status(cell) == "failed"
    (results.folder / f"{cell.id}.json").write_text(row)
    assert GridResults(results.grid, tmp_path).status(cell) == "missing"
    assert len(GridResults(results.grid, tmp_path).table()) == len(results.grid.cells)


def test_a_cell_that_fails_is_written_down_and_the_others_go_on(make_grid: MakeGrid, tmp_path: Path) -> None:
    results = GridResults(make_grid(GRID), tmp_path / "runs")

    def run(cell: Cell, root: Path) -> Any:
        if cell.recipe == "oracle":
            raise ValueError("no such\nluck")
        return pretend(cell, root)

    run_cells(results.grid.cells, results, run)
    table = whole(results)
    assert table["status"].value_counts().to_dict() == {"done": 4, "failed": 1}
    assert table.loc[table["status"] == "failed", "failed"].tolist() == ["no such luck"]
    assert results.forget_failed(results.grid.cells) == 1
    run_cells(results.grid.cells, results, pretend)
    assert set(whole(results)["status"]) == {"done"}


def test_a_cell_added_later_updates_the_table(make_grid: MakeGrid, tmp_path: Path) -> None:
    first = GridResults(make_grid(GRID), tmp_path / "runs")
    run_cells(first.grid.cells, first, pretend)
    more = GridResults(make_grid(GRID + "seeds: [0, 1]\n"), tmp_path / "runs")
    assert len(more.left()) == 5
    assert more.collect()["status"].value_counts().to_dict() == {"done": 5, "missing": 5}  # type: ignore[index]


def test_a_cell_with_a_busy_stage_is_put_off(make_grid: MakeGrid, tmp_path: Path) -> None:
    results = GridResults(make_grid(GRID), tmp_path / "runs")
    stage = Lock(tmp_path / ".simclr-1.lock")
    assert stage.acquire()
    order: list[str] = []

    def run(cell: Cell, root: Path) -> Any:
        if cell.id == results.grid.cells[0].id and len(order) < 4:
            raise StageBusy(stage.path)
        order.append(cell.id)
        if len(order) == 4:
            stage.release()
        return pretend(cell, root)

    run_cells(results.grid.cells, results, run)
    ids = [cell.id for cell in results.grid.cells]
    assert order == [*ids[1:], ids[0]]


def fork(results: GridResults, cells: Any) -> int:
    """A process of its own that runs cells; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            run_cells(cells, results, partial(pretend, seconds=0.03))
        finally:
            os._exit(0)
    return pid


def test_two_processes_make_the_same_table_and_no_cell_twice(
    make_grid: MakeGrid, tmp_path: Path, expected: pd.DataFrame
) -> None:
    results = GridResults(make_grid(GRID), tmp_path / "runs")
    cells = results.grid.cells
    for pid in [fork(results, cells), fork(results, cells[::-1])]:
        os.waitpid(pid, 0)
    pd.testing.assert_frame_equal(whole(results), expected)
    assert not list(results.folder.glob(".*"))


def test_after_random_kills_the_table_is_complete(make_grid: MakeGrid, tmp_path: Path, expected: pd.DataFrame) -> None:
    """One of two processes is killed at a random moment; the other one does what it has left."""
    draw = random.Random(0)
    grid = make_grid(GRID)
    for i in range(KILLS):
        results = GridResults(grid, tmp_path / f"runs{i}")
        one, other = fork(results, grid.cells), fork(results, grid.cells)
        time.sleep(draw.uniform(0, 0.2))
        os.kill(one, signal.SIGKILL)
        os.waitpid(one, 0)
        os.waitpid(other, 0)
        pd.testing.assert_frame_equal(whole(results), expected)


def test_peak_memory_is_of_the_block() -> None:
    with peak_memory() as peak:
        before = peak()
        block = bytearray(80 * 2**20)
        after = peak()
    del block
    with peak_memory() as later:
        again = later()
    if before is None or after is None or again is None:
        pytest.skip("this system does not say how much memory a process has had")
    assert after - before > 60
