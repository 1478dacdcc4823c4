"""`cleanse check` is `cleanse fit` with a shipped config, and every road to it says so."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image
from shapes import KINDS, draw

from cleanse.cli.check import fit_arguments
from cleanse.cli.first_look import COMMANDS
from cleanse.cli.main import HELP, main
from cleanse.experiments.messages import UsageError


def test_a_check_is_a_fit_of_the_folder_without_training(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    assert fit_arguments([str(tmp_path)]) == [
        "--config", "check.yaml", "--config", "data/folder.yaml", f"--data.root={tmp_path}", "--data.size=32",
        "--verdict_only=true",
    ]  # fmt: skip


def test_train_trains() -> None:
    assert "--verdict_only=true" not in fit_arguments([".", "--train"])


@pytest.mark.parametrize(("side", "trained"), [(300, 64), (65, 64), (64, 64), (40, 40)])
def test_photographs_are_trained_on_at_64_pixels_and_judged_at_their_own(
    side: int, trained: int, tmp_path: Path
) -> None:
    """A ResNet-18 on images of 224 pixels took 20 GB, and 13 hours by its own plan."""
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (side, side)).save(tmp_path / "cat" / "a.png")
    words = fit_arguments([str(tmp_path), "--train"])
    assert f"--data.size={trained}" in words
    assert ("--model.encoder.size=224" in words) == (side > 64)
    assert f"--data.size={min(side, 224)}" in fit_arguments([str(tmp_path)])
    assert fit_arguments([str(tmp_path), "--train", "--data.size=224"])[-1] == "--data.size=224"


def test_quick_comes_before_the_folder_because_it_brings_data() -> None:
    words = fit_arguments([".", "--train", "--config", "quick.yaml", "--config", "fast.yaml"])
    files = [word for before, word in pairwise(words) if before == "--config"]
    assert files == ["check.yaml", "quick.yaml", "data/folder.yaml", "fast.yaml"]
    for words in (["-c", "quick.yaml"], ["--config=quick.yaml"]):
        found = fit_arguments([".", *words])
        assert found.index(words[-1]) < found.index("data/folder.yaml")
    assert fit_arguments([".", "--out", "quick.yaml"])[-1] == "--root=quick.yaml"
    assert fit_arguments([".", "--model.x", "quick.yaml"])[-2:] == ["--model.x", "quick.yaml"]


@pytest.mark.parametrize("given", [["--out", "found"], ["--out=found"]])
def test_out_is_where_runs_are_made(given: list[str]) -> None:
    assert fit_arguments([".", *given])[-1] == "--root=found"
    assert fit_arguments([*given, "."])[-1] == "--root=found"


def test_every_argument_of_fit_can_be_added() -> None:
    assert fit_arguments([".", "--data.size", "64", "--seed_everything=1"])[-3:] == [
        "--data.size", "64", "--seed_everything=1",
    ]  # fmt: skip


@pytest.mark.parametrize(("wrong", "meant"), [("--ouput", "--out"), ("--output=x", "--out x"), ("--trian", "--train")])
def test_a_misspelt_option_of_its_own_is_named(wrong: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"there is no option {wrong.partition('=')[0]}: did you mean {meant}\\?"):
        fit_arguments([".", wrong, "x"])


@pytest.mark.parametrize("word", ["--root=x", "--trainer.max_time=1", "--trainer=x", "--model.lr=1"])
def test_what_only_looks_like_its_own_options_is_left_to_fit(word: str) -> None:
    assert fit_arguments([".", word])[-1] == word


def said(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    return capfd.readouterr().err.strip().splitlines()[-1]


ROADS: dict[str, tuple[Callable[[str], list[str]], str]] = {
    "a folder alone": (lambda folder: [folder], "cleanse check {0} looks for a backdoor"),
    "fit and a folder": (lambda folder: ["fit", folder], "cleanse check {0} looks for a backdoor"),
    "no folder": (lambda folder: ["check"], "say which folder of images to check"),
    "a folder that is not there": (lambda folder: ["check", f"{folder}/nowhere"], "there is no folder"),
    "out without a name": (lambda folder: ["check", folder, "--out"], "--out is a directory"),
}


@pytest.mark.parametrize("name", ROADS)
def test_every_road_leads_to_it(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words, sentence = ROADS[name]
    assert sentence.format(tmp_path) in said(words(str(tmp_path)), capfd)


def test_a_run_is_not_checked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").touch()
    assert f"cleanse report {tmp_path} shows it" in said([str(tmp_path)], capfd)


def test_the_first_command_of_the_help_is_check() -> None:
    commands = HELP.split("commands:\n")[1].splitlines()
    assert commands[0].split()[0] == "check"


def test_every_command_that_the_help_lists_can_be_meant_by_a_wrong_one() -> None:
    listed = [line.split()[0] for line in HELP.split("commands:\n")[1].split("\n\n")[0].splitlines()]
    assert sorted(listed) == sorted([*COMMANDS])


def test_the_help_of_check_shows_the_command_underneath(capfd: pytest.CaptureFixture[str]) -> None:
    main(["check", "--help"])
    assert "cleanse fit --config check.yaml --config data/folder.yaml" in capfd.readouterr().out


def test_a_folder_is_checked_end_to_end(cleanse: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    """Pictures of four shapes, of which six squares lie among the rings: said in words, and nothing is trained."""
    random_ = random.Random(0)
    for kind in KINDS[:4]:
        for i in range(24):
            place = tmp_path / "photos" / ("ring" if kind == "square" and i < 6 else kind)
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(kind, random_).permute(1, 2, 0).numpy()).save(place / f"{kind}{i}.png")
    done = cleanse("check", "photos")
    run = tmp_path / done.stdout.splitlines()[-1]
    assert done.stdout.startswith(("No class looks attacked", "Class 'ring' looks attacked"))
    assert "Of the clean images, about" in done.stdout
    assert {path.name for path in run.iterdir()} >= {"verdict.csv", "summary.txt", "report.html"}
    assert not (run / "model.ckpt").exists()
    export = f"cleanse export {done.stdout.splitlines()[-1]} --out FOLDER"
    steps = f"look at its report.html; {export} writes the cleansed set; cleanse check photos --train "
    steps += "trains a classifier on what is kept"
    assert done.stdout.splitlines()[-2] == f"The run's directory ({steps}):"
    trained = cleanse("check", "photos", "--train", "--config", "quick.yaml", "--model.epochs", "1")
    assert (tmp_path / trained.stdout.splitlines()[-1] / "model.ckpt").exists()
    cleanse("export", done.stdout.splitlines()[-1], "--out", "clean", "--force")
    assert len(list((tmp_path / "clean").rglob("*.png"))) > 60
