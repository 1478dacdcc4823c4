"""Many runs as one table: seeds together, everything else apart."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from cleanse.cli.main import main
from cleanse.engine.run_directory import RunDirectory
from cleanse.report.runs_table import as_text, runs_table


def made(
    where: Path,
    name: str,
    seed: int,
    sa: float,
    model: dict[str, Any] | None = None,
    rate: dict[str, float] | None = None,
    **results: Any,
) -> RunDirectory:
    """A finished run of knn against BadNets."""
    run = RunDirectory(where / name)
    config = {
        "seed_everything": seed, "root": str(where), "trainer": {"accelerator": f"device {seed}"},
        "data": {"class_path": "cleanse.data.Digits", "init_args": {"batch_size": 8, "attack": {"init_args": rate}}},
        "model": {"class_path": "cleanse.defenses.ContrastiveFilter", "init_args": {"k": 5, **(model or {})}},
    }  # fmt: skip
    run.write_config(yaml.safe_dump(config))
    figures = {"sa": sa, "asr": None, "recipe": "knn", "attack": "BadNets", "data": "Digits", "seed": seed}
    run.write_results({**figures, "poisoned": 20, "train_images": 1000, "seconds": 2.0, **results})
    return run


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDirectory]:
    """Two seeds of knn, one with another k, one of none."""
    return [
        made(tmp_path, "a", 0, 0.5),
        made(tmp_path, "b", 1, 0.75),
        made(tmp_path, "c", 0, 0.25, {"k": 9}),
        made(tmp_path, "d", 0, 1.0, {"width": 3}, recipe="none"),
    ]


def test_seeds_are_one_row_and_what_differs_besides_is_a_column(runs: list[RunDirectory]) -> None:
    frame = runs_table(runs)
    assert [c for c in frame.columns if not c.endswith("_sd")] == [
        "recipe", "attack", "data", "poison_rate", "model.k", "runs", "sa", "seconds"
    ]  # fmt: skip
    assert frame["recipe"].tolist() == ["knn", "knn", "none"]
    assert frame["model.k"].tolist() == ["5", "9", "5"]
    assert frame["runs"].tolist() == [2, 1, 1]
    assert frame["sa"].tolist() == [0.625, 0.25, 1.0]
    assert frame["sa_sd"][0] == pytest.approx(0.1767767)
    assert frame["sa_sd"][1:].isna().all()
    assert frame["poison_rate"].tolist() == [0.02] * 3


def test_what_detects_nothing_has_no_figures_of_detection(tmp_path: Path) -> None:
    rates = {"tpr": 0.0, "fpr": 0.0, "auroc": 0.5}
    runs = [made(tmp_path, name, 0, 0.5, recipe=name, **rates) for name in ("knn", "none", "supcon")]
    knn, none, supcon = as_text(runs_table(runs)).splitlines()[1:]
    assert knn.split()[-4:] == ["0.0", "0.0", "50.0", "2.0"]
    assert none.split()[-4:] == supcon.split()[-4:] == ["-", "-", "-", "2.0"]


def test_what_a_recipe_was_told_is_a_column(runs: list[RunDirectory], tmp_path: Path) -> None:
    told = made(tmp_path, "e", 0, 0.5, recipe="nad", given="clean:10/class", clean_purity=0.75)
    frame = runs_table([*runs, told]).set_index("recipe")
    assert frame["given"]["nad"] == "clean:10/class"
    assert frame["clean_purity"]["nad"] == 0.75


def test_the_highest_asr_is_a_column_where_there_are_several_triggers(runs: list[RunDirectory], tmp_path: Path) -> None:
    several = made(tmp_path, "e", 0, 0.5, recipe="nad", attack="Several", asr=0.5, asr_max=0.75)
    lines = as_text(runs_table([*runs, several])).splitlines()
    assert "ASR  ASR MAX" in lines[0]
    assert next(line for line in lines if line.startswith("nad")).split()[-3:] == ["50.0", "75.0", "2.0"]
    assert "ASR" not in as_text(runs_table(runs))


def test_what_a_trigger_stands_for_is_a_column_where_it_is_not_one_class(
    runs: list[RunDirectory], tmp_path: Path
) -> None:
    modes = {"abl": "next", "nad": "target | random", "asd": "target", "dbd": "target | target"}
    others = [made(tmp_path, name, 0, 0.5, recipe=name, attack_labels=mode) for name, mode in modes.items()]
    frame = runs_table([*runs, *others]).set_index("recipe")
    assert frame["labels"].dropna().to_dict() == {"abl": "next", "nad": "target | random"}
    assert "labels" not in runs_table([*runs, *others[2:]])
    same = [made(tmp_path, mode, 0, 0.5, attack_labels=mode) for mode in ("next", "random")]
    assert runs_table(same)["labels"].tolist() == ["next", "random"]


def test_the_poison_rate_is_a_column_once(tmp_path: Path) -> None:
    runs = [
        made(tmp_path, "a", 0, 0.5, rate={"poison_rate": 0.02}),
        made(tmp_path, "b", 0, 0.5, rate={"poison_rate": 0.05}, poisoned=50),
        made(tmp_path, "c", 0, 0.5, rate={"class_rate": 0.1}, poisoned=90),
    ]
    frame = runs_table(runs)
    assert frame["poison_rate"].tolist() == [0.02, 0.05, 0.09]
    assert not [c for c in frame if c.startswith("data.attack")]
    runs.append(made(tmp_path, "d", 0, 0.5, rate={"poison_rate": 0.02001}))
    assert runs_table(runs)["data.attack.poison_rate"].tolist()[:3] == ["0.02", "0.02001", "0.05"]


def test_the_text_has_per_cent_and_deviations(runs: list[RunDirectory]) -> None:
    lines = as_text(runs_table(runs)).splitlines()
    assert lines[0].split() == ["recipe", "attack", "data", "poison_rate", "model.k", "runs", "SA", "seconds"]
    assert lines[1].split("  ")[0] == "knn"
    assert "62.5 +- 17.7" in lines[1]
    assert "2.00 %" in lines[1]
    assert lines[2].rstrip().endswith("2.0")
    assert "+-" not in lines[2]


def test_a_damaged_run_is_left_out_with_a_warning(runs: list[RunDirectory], caplog: pytest.LogCaptureFixture) -> None:
    runs[0].results.write_text("[")
    assert runs_table(runs)["runs"].tolist() == [1, 1, 1]
    assert "results.json cannot be read" in caplog.text


def test_without_a_finished_run_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run"):
        runs_table([RunDirectory(tmp_path)])


def test_the_command_passes_over_folders_and_writes_no_formula(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "run", 0, 0.5, recipe="=cmd()\u202e")
    (tmp_path / "stage-0123").mkdir()
    main(["table", str(tmp_path / "run"), str(tmp_path / "stage-0123"), "--csv", str(tmp_path / "t.csv")])
    out = capsys.readouterr().out
    assert "=cmd()\\u202e" in out
    assert "\u202e" not in out
    assert pd.read_csv(tmp_path / "t.csv")["recipe"].tolist() == ["'=cmd()\\u202e"]
