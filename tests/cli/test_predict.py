"""A run's classifier on other pictures: classes go by their names, and new pictures need no label."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from cleanse.cli.main import main

Cleanse = Callable[..., "CompletedProcess[str]"]
COLORS = {"blue": 2, "green": 1, "red": 0}


def picture(color: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(40, 80, (9, 11, 3))
    pixels[..., color] += 150
    return Image.fromarray(pixels.astype(np.uint8))


def filled(root: Path, colors: dict[str, int]) -> Path:
    """``root/train/<class>`` and ``root/test/<class>``."""
    for part, count in (("train", 24), ("test", 6)):
        for name, color in colors.items():
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                picture(color, 1000 * color + 100 * count + i).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with photos of three colors."""
    where, before = tmp_path_factory.mktemp("predict"), os.getcwd()
    filled(where / "photos", COLORS)
    os.chdir(where)
    yield where
    os.chdir(before)


@pytest.fixture(scope="module")
def run(place: Path) -> str:
    """A run on them."""
    with pytest.MonkeyPatch.context() as patch:
        said: list[str] = []
        patch.setattr("sys.stdout.write", said.append)
        main(
            [
                "fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "data/folder.yaml",
                "--data.root", "photos", "--data.size", "8", "--model.epochs", "10", "--trainer.accelerator", "cpu",
                "--compare", "[]",
            ]
        )  # fmt: skip
    return "".join(said).splitlines()[-1]


def rows(path: Path) -> dict[str, str]:
    with path.open(newline="", errors="surrogateescape") as file:
        return {row["id"]: row["prediction"] for row in csv.DictReader(file)}


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit):
        main(words)
    return capfd.readouterr().err.strip().splitlines()[-1]


def test_new_pictures_need_no_labels_and_no_training_data(place: Path, run: str, tmp_path: Path) -> None:
    new = tmp_path / "new"
    new.mkdir()
    for name, color in COLORS.items():
        picture(color, 7).save(new / f"{name}.png")
    (new / "torn.png").write_bytes(b"\x89PNG")
    (new / "=cmd().png").write_bytes((new / "red.png").read_bytes())
    moved = (place / "photos").rename(place / "elsewhere")  # they are not needed
    try:
        main(["predict", run, "--images", str(new), "--out", str(tmp_path / "said.csv")])
    finally:
        moved.rename(place / "photos")
    said = rows(tmp_path / "said.csv")
    assert {f"{name}.png": name for name in COLORS}.items() <= said.items()
    assert said["torn.png"] == ""
    assert said["'=cmd().png"] == "red"  # a spreadsheet takes it for no formula
    assert not Path(run, "predictions.csv").exists()


def test_the_test_images_go_where_one_says(run: str, tmp_path: Path) -> None:
    main(["predict", run, "--out", str(tmp_path / "mine.csv")])
    assert set(rows(tmp_path / "mine.csv").values()) <= set(COLORS)
    assert not Path(run, "predictions.csv").exists()


def test_classes_go_by_their_names(run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = filled(tmp_path / "other", {name: COLORS[name] for name in ("green", "red")})
    capfd.readouterr()
    main(["test", run, "--data.root", str(other)])
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["sa"] > 0.9  # by their numbers, none would be right


def test_a_class_that_the_run_does_not_know_is_refused(
    run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = filled(tmp_path / "other", {"blue": 2, "lime": 1, "red": 0})
    for command in ("test", "predict"):
        said = refused([command, run, "--data.root", str(other)], capfd)
        assert "lime" in said
    assert not Path(run, "predictions.csv").exists()


WRONG = {
    "no folder": (lambda run, place: ["predict", run, "--images", "nowhere"], "there is no folder 'nowhere'"),
    "no pictures": (lambda run, place: ["predict", run, "--images", str(place)], "has no image files"),
    "no name": (lambda run, place: ["predict", run, "--images"], "--images is a folder"),
    "images of test": (lambda run, place: ["test", run, "--images", "photos"], "there is no argument --images"),
    "one of several": (lambda run, place: ["test", run[:-3]], "did you mean"),
    "no run": (lambda run, place: ["predict", str(place)], "is not the directory of a run"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_sentence(name: str, run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, sentence = WRONG[name]
    assert sentence in refused(words(run, tmp_path), capfd)


def test_several_runs_that_begin_alike_are_named(run: str, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(run, f"{run}-copy", symlinks=True)
    start = run.rpartition("-")[0]
    for command in (["export", start, "--out", "new"], ["report", start], ["test", start]):
        said = refused(command, capfd)
        assert "2 begin like it" in said
        assert f"{run}-copy" in said
    shutil.rmtree(f"{run}-copy")


@pytest.mark.parametrize("command", ["test", "predict"])
def test_a_run_without_a_classifier_says_how_to_get_one(
    command: str, run: str, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As `cleanse check` leaves it."""
    shutil.copytree(run, "runs/check-only", ignore=shutil.ignore_patterns("model.ckpt"))
    said = refused([command, "runs/check-only"], capfd)
    shutil.rmtree("runs/check-only")
    assert "--train" in said
    assert "cleanse check FOLDER" in said


def test_a_folder_without_a_test_part_says_what_to_name_instead(
    run: str, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "photos" / "train", tmp_path / "flat")
    said = refused(["test", run, "--data.root", str(tmp_path / "flat")], capfd)
    assert "no test part" in said
    assert "cleanse test RUN --data.root DIR" in said
