"""`cleanse bench` end to end: real cells on a few digits, its table, its report and W&B."""

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from wandb_records import records

from cleanse.bench.grid import read_grid
from cleanse.bench.part import Part, run_part
from cleanse.bench.plan import look_ahead
from cleanse.bench.results import GridResults, figures_of
from cleanse.cli.main import main

Cleanse = Callable[..., "subprocess.CompletedProcess[str]"]
GRID = """
recipes: [none, oracle]
attacks: [clean, badnets]
data: {digits: quick.yaml}
rates: [0.1]
overrides: {data.limit_train: 80, data.limit_test: 40, model.epochs: 2, data.attack.target: 0}
changes:
  broken: {overrides: {model.epochs: 0}, for: {recipe: none, attack: badnets}}
published:
- {source: "A Paper, Table 9", recipes: {none: {badnets: {sa: 12.5, asr: 99}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A grid that one process has run."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "tiny.yaml").write_text(GRID)
    run_part(Part(str(folder / "tiny.yaml"), str(folder / "runs")))
    return folder


def test_every_cell_has_its_figures_or_the_reason_why_not(folder: Path) -> None:
    table = pd.read_parquet(folder / "runs" / "bench" / "tiny.parquet").set_index(["recipe", "attack", "change"])
    assert table["status"].to_dict() == {
        ("none", "clean", ""): "done", ("none", "badnets", ""): "done", ("oracle", "badnets", ""): "done",
        ("none", "badnets", "broken"): "failed",
    }  # fmt: skip
    assert "epochs" in table.loc[("none", "badnets", "broken"), "failed"]
    done = table[table["status"] == "done"]
    assert done[["sa", "seconds", "seconds_here", "train_images"]].notna().all().all()
    assert done.loc["oracle", "tpr"].tolist() == [1.0]


def test_two_workers_make_the_same_table(folder: Path, cleanse: Cleanse) -> None:
    (folder / "again").mkdir(exist_ok=True)
    done = cleanse("bench", str(folder / "tiny.yaml"), "--root", str(folder / "again"), "--workers", "2")
    one, two = (pd.read_parquet(folder / root / "bench" / "tiny.parquet") for root in ("runs", "again"))
    pd.testing.assert_frame_equal(figures_of(one), figures_of(two))
    begun = [line for line in done.stderr.splitlines() if "cell " in line]
    assert {line[:15] for line in begun} == {"worker 1: cell ", "worker 2: cell "}


def test_rows_that_are_lost_are_found_again_from_the_stages_on_disk(folder: Path) -> None:
    """The whole table from cached cells: nothing is trained again."""
    results = GridResults(read_grid(str(folder / "tiny.yaml")), folder / "runs")
    before = figures_of(results.table())
    stages = {path.name: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/stage.json")}
    for row in results.folder.glob("*.json"):
        row.unlink()
    again = run_part(Part(str(folder / "tiny.yaml"), str(folder / "runs"))).table()
    pd.testing.assert_frame_equal(figures_of(again), before)
    assert {path.name: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/stage.json")} == stages


def test_the_plan_says_what_is_there_and_what_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = folder / "tiny.yaml"
    more.write_text(GRID + "seeds: [0, 1]\n")
    main(["bench", str(more), "--root", str(folder / "runs"), "--dry-run"])
    more.write_text(GRID)
    said = capsys.readouterr().out
    assert "8 cells: 3 done, 1 failed, 4 to run" in said
    assert "at most" in said
    assert "for 3 cells, by the slowest of their kind that has run" in said
    assert (
        "3 trainings are asked for: 2 are known before the first, of which 2 are distinct and 0 on disk, and 1" in said
    )


def dry_run(root: Path, capsys: pytest.CaptureFixture[str], *options: str, text: str = GRID) -> str:
    """What a dry run says of the grid under a root."""
    (root / "tiny.yaml").write_text(text)
    main(["bench", str(root / "tiny.yaml"), "--root", str(root / "runs"), "--dry-run", *options])
    return capsys.readouterr().out


def test_where_no_cell_has_run_a_step_of_each_training_says_how_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = dry_run(tmp_path, capsys)
    assert "s for 3 cells: an estimate, from a timed step of each kind of training on this machine" in said
    assert "not timed" not in said
    assert "how long 1 cell will take is not known" in said
    assert not list((tmp_path / "runs").glob("*"))


def test_a_dry_run_says_of_many_cells_once_what_they_have_in_common(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("cleanse")
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    try:
        dry_run(tmp_path, capsys, "--timing", "0")
        log.info("again")
        log.info("again")
    finally:
        log.removeHandler(handler)
    *dry, one, two = heard
    assert any("images poisoned" in line for line in dry)
    assert len(set(dry)) == len(dry)
    assert (one, two) == ("again", "again")


def test_a_dry_run_times_what_an_attack_trains_and_what_comes_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
recipes: [none]
attacks: {narcissus: attacks/narcissus.yaml}
data: {digits: quick.yaml}
overrides: {data.limit_train: 80, data.limit_test: 40, model.epochs: 2, data.attack.surrogate_epochs: 2}
"""
    said = dry_run(tmp_path, capsys, text=text)
    assert "2 cells: 0 done, 0 failed, 2 to run" in said
    assert (
        "8 trainings are asked for: 6 are known before the first, of which 3 are distinct and 0 on disk, and 2" in said
    )
    assert " s for 2 cells: an estimate" in said
    assert "not known" not in said


def test_a_reason_that_many_cells_share_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "recipes: [none]\ndata: {folder: data/folder.yaml}\nseeds: [0, 1, 2]\n"
    text += f"overrides: {{data.root: {tmp_path / 'none'}}}\n"
    said = dry_run(tmp_path, capsys, text=text)
    assert "nothing is known of (3 cells):\n  none clean folder seed 0 and 2 more cells: " in said
    assert said.count(str(tmp_path / "none")) == 1


def test_an_own_attack_that_does_not_say_what_it_trains_leaves_its_cells_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "learner.py").write_text(
        "from cleanse.attacks import BadNets\n\n\nclass Learner(BadNets):\n"
        "    def learn(self, clean, role, seed, run):\n        self.found = 1\n\n"
        "    def poison_image(self, image, generator):\n        return image + self.found\n"
    )
    (tmp_path / "learner.yaml").write_text(
        "data: {init_args: {attack: {class_path: learner.Learner, init_args: {poison_rate: 0.1}}}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    text = "recipes: [none]\nattacks: {own: learner.yaml}\ndata: {digits: quick.yaml}\n"
    said = dry_run(tmp_path, capsys, "--timing", "0", text=text)
    assert "nothing is known of (2 cells):\n  oracle own digits seed 0 and 1 more cell: AttributeError: " in said


def test_a_cell_that_will_fail_is_said_before_it_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "recipes: [none]\ndata: {digits: quick.yaml}\nchanges: {k=5: {overrides: {model.k: 5}, for: {recipe: none}}}"
    said = dry_run(tmp_path, capsys, "--timing", "0", text=text)
    assert "these will fail (1 cell):\n  none k=5 clean digits seed 0: model: there is no argument 'k'" in said
    assert "what only some recipes, attacks or data take has a `for` that names them" in said


def test_a_training_that_two_cells_share_is_counted_once(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GRID)
    cell = read_grid(str(tmp_path / "tiny.yaml")).cells[0]
    cells = [cell, replace(cell, change="same"), replace(cell, change="again")]
    ahead = look_ahead(cells, tmp_path / "runs", set(), 60.0)
    first, *others = (ahead.seconds[cell.id] for cell in cells)
    assert ahead.asked == 3
    assert len(ahead.folders) == 1
    assert first > 0
    assert max(others) < first / 2  # their tables are left


def test_after_the_time_for_timing_what_was_not_timed_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = dry_run(tmp_path, capsys, "--timing", "0")
    assert "about 0 s for 3 cells but for" in said
    assert "  none clean digits seed 0: classifier (the time for it was over)" in said


def test_trainings_on_several_processes_are_not_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "recipes: [none]\ndata: {digits: quick.yaml}\noverrides: {trainer.accelerator: cpu, trainer.devices: 2}\n"
    said = dry_run(tmp_path, capsys, text=text)
    assert "none clean digits seed 0: classifier (a Trainer of several processes would start them" in said


def test_the_report_has_published_figures_failures_and_no_address(folder: Path, capsys: Any) -> None:
    main(["bench", "report", str(folder / "tiny.yaml"), "--root", str(folder / "runs")])
    page = Path(capsys.readouterr().out.splitlines()[-1]).read_text()
    assert "4 cells: 3 done, 1 failed, 0 missing" in page
    assert "12.50" in page
    assert "A Paper, Table 9" in page
    assert "none broken" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    markdown = (folder / "runs" / "bench" / "tiny.md").read_text()
    assert "| oracle | badnets | digits | 10 |" in markdown
    assert (folder / "runs" / "bench" / "tiny.tex").read_text().startswith("% needs \\usepackage{booktabs}\n")


def test_a_wrong_option_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["bench", str(folder / "tiny.yaml"), "--shard", "5/4"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "cleanse: --shard is '5/4': write it as 1/4 to 4/4\n"


def test_wandb_has_a_group_a_run_for_each_cell_and_the_table(cleanse: Cleanse, tmp_path: Path) -> None:
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    (tmp_path / "tiny.yaml").write_text(GRID.replace("recipes: [none, oracle]", "recipes: [none]"))
    done = cleanse("bench", "tiny.yaml", "--wandb", "mine", WANDB_MODE="", WANDB_API_KEY="", NETRC=str(tmp_path / "no"))
    assert "wandb login" not in done.stderr
    names, summary, tables = {}, {}, []
    for file in tmp_path.glob("runs/bench/wandb/offline-run-*/*.wandb"):
        for content in records(file):
            record = pb.Record.FromString(content)
            if record.HasField("run"):
                names[record.run.display_name] = (record.run.run_group, record.run.job_type, record.run.project)
            own = {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
            summary |= own
        tables += [json.loads(path.read_text()) for path in (file.parent / "files" / "media" / "table").rglob("*.json")]
    assert names["tiny table"] == ("tiny", "table", "mine")
    assert names["none badnets digits 0.1 seed 0"] == ("tiny", "cell", "mine")
    assert {job for _, job, _ in names.values()} == {"cell", "table"}
    assert {"none/badnets/digits/sa", "none/badnets/digits/asr", "none/clean/digits/sa"} <= set(summary)
    whole = [table for table in tables if "published_sa" in table["columns"]]  # the others show single images
    assert len(whole) == 1
    assert {"recipe", "attack", "sa", "asr"} <= set(whole[0]["columns"])
    assert len(whole[0]["data"]) == 4  # the oracle is always among the recipes
