"""benchmarks/paper_scale.py: which cell is next, and that a run of it is kept and not made again."""

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "paper_scale.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("paper_scale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["paper_scale"] = module  # its dataclass looks there
    spec.loader.exec_module(module)
    return module


script = load()
RATE = 1e6 / 60  # a million images a minute


def cell(name: str, value: float, **parts: float) -> Any:
    return script.Cell(name, "a table", "", (), value, parts)


def test_minutes_are_the_parts_and_the_overhead() -> None:
    assert script.minutes(cell("a", 1, x=3, y=4), RATE) == pytest.approx(script.OVERHEAD + 7)


def test_a_part_that_is_there_costs_nothing() -> None:
    assert script.minutes(cell("a", 1, x=3, y=4), RATE, ["x"]) == pytest.approx(script.OVERHEAD + 4)


def test_the_most_valuable_per_minute_comes_first() -> None:
    cells = [cell("long", 10, x=20), cell("short", 5, y=1)]
    assert script.next_cell(cells, [], RATE, 100).name == "short"


def test_a_finished_cell_is_not_run_again_and_has_paid_its_parts() -> None:
    cells = [cell("first", 10, simclr=20), cell("shares", 9, simclr=20, own=1), cell("alone", 8, own2=5)]
    assert script.next_cell(cells, ["first"], RATE, 100).name == "shares"
    assert script.next_cell(cells[:1], ["first"], RATE, 100) is None


def test_of_those_that_fit() -> None:
    cells = [cell("better", 100, x=20), cell("fits", 1, y=2)]
    assert script.next_cell(cells, [], RATE, 10).name == "fits"


def test_where_none_fits_the_best_is_begun() -> None:
    cells = [cell("better", 100, x=20), cell("worse", 1, y=20)]
    assert script.next_cell(cells, [], RATE, 10).name == "better"


def test_nothing_is_begun_at_the_end() -> None:
    assert script.next_cell([cell("a", 1, x=1)], [], RATE, script.OVERHEAD / 2) is None


def test_estimates_follow_what_cells_took() -> None:
    overhead = script.OVERHEAD
    row = {"seconds": 60 * (10 + overhead), "minutes_estimated": 5 + overhead}
    assert script.corrected(100, [row]) == pytest.approx(50)


def test_names_of_cells_are_their_own() -> None:
    names = [c.name for c in script.CELLS]
    assert len(set(names)) == len(names)


def test_a_cell_is_run_once_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "--minutes", "10", "--tiny", "--rate", "1000000", "--only", "fast none badnets", "--root", str(tmp_path),
        "--trainer.accelerator", "cpu", "--compare=[]",
    ]  # fmt: skip
    script.main(words)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["cell"] for row in rows] == ["fast none badnets 5 %"]
    assert 0 <= float(rows[0]["sa"]) <= 1
    written = (tmp_path / "results.csv").stat().st_mtime_ns
    script.main(words)
    assert (tmp_path / "results.csv").stat().st_mtime_ns == written
    assert "fast none badnets 5 %" in (tmp_path / "results.md").read_text()


def test_a_cell_that_fails_is_named_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "CELLS", (script.Cell("wrong", "", "", ("--config", "no such.yaml"), 1, {}),))
    with pytest.raises(SystemExit, match="failed: wrong"):
        script.main(["--minutes", "10", "--rate", "1000000", "--root", str(tmp_path)])
    assert not (tmp_path / "results.csv").exists()
