"""One experiment: the verdict is on disk before the classifier is trained, and a run is read back."""

import errno
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import LightningModule

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.defenses import ISPL, ContrastiveFilter, NoDefense, Oracle, SelfTraining
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Experiment, Setup, run_experiment
from cleanse.experiments.recipe_name import recipe_name
from cleanse.networks import SmallCNN
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

SMALL: dict[str, Any] = {"network": partial(SmallCNN, width=4), "epochs": 1}
CONFIG = {
    "seed_everything": 0,
    "data": {
        "class_path": "cleanse.data.Digits",
        "init_args": {
            "limit_train": 100, "limit_test": 50,
            "attack": {"class_path": "cleanse.attacks.BadNets", "init_args": {"class_rate": 0.1, "size": 2}},
        },
    },
    "model": {
        "class_path": "cleanse.defenses.NoDefense",
        "init_args": {
            "epochs": 1, "network": {"class_path": "cleanse.networks.SmallCNN", "init_args": {"width": 4}}
        },
    },
}  # fmt: skip


def setup(runner: Runner, defense: NoDefense, **more: Any) -> Setup:
    data = Digits(limit_train=100, limit_test=50, seed=0, attack=BadNets(class_rate=0.1, size=2))
    return Setup(defense, data, runner, config=yaml.safe_dump(CONFIG), **{"compare": ["none"], **more})


class Stopped(Exception):
    pass


class NeverTrained(NoDefense):
    """Its last training is killed."""

    def classify(self, train: TrainingView, run: Runner) -> LightningModule:
        raise Stopped


def files(runner: Runner) -> set[str]:
    (run,) = (path.parent for path in runner.root.glob("*/config.yaml"))
    return {path.name for path in run.iterdir()}


BEFORE = {"config.yaml", "verdict.parquet", "verdict.csv", "summary.txt", "results.json", "report.html", "stages"}


def test_verdict_summary_and_report_are_there_before_the_classifier_is_trained(runner: Runner) -> None:
    with pytest.raises(Stopped):
        run_experiment(setup(runner, NeverTrained(**SMALL)))
    assert files(runner) == BEFORE
    (path,) = runner.root.glob("*/results.json")
    results = json.loads(path.read_text())
    assert results["sa"] is None
    assert results["tpr"] == 0


def test_verdict_only_trains_nothing_and_a_full_run_goes_on_in_the_same_directory(runner: Runner) -> None:
    first = run_experiment(setup(runner, NoDefense(**SMALL), verdict_only=True, report=False))
    assert runner.computed == 0
    assert files(runner) == BEFORE - {"report.html"}
    with pytest.raises(ValueError, match="a verdict and no classifier"):
        _ = first.model
    second = run_experiment(setup(runner, NoDefense(**SMALL)))
    assert second.directory == first.directory
    assert second.verdict.hash() == first.verdict.hash()
    assert files(runner) == BEFORE | {"model.ckpt"}


def test_a_finished_run_is_read_back_with_its_classifier(runner: Runner) -> None:
    made = run_experiment(setup(runner, NoDefense(**SMALL)))
    read = Experiment.load(made.directory)
    assert read.results == made.results
    assert read.summary == made.summary
    assert read.table == made.table
    assert read.verdict.hash() == made.verdict.hash()
    assert read.classes == made.classes == tuple("0123456789")
    image = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(read.model.eval()(image), made.model.eval()(image))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_finished_run_on_a_read_only_disk_is_read(
    runner: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    made = run_experiment(setup(runner, NoDefense(**SMALL), report=False))

    def refused(*arguments: object) -> None:
        raise OSError(code, "no")

    for name in ("write_config", "write_summary", "write_checkpoint"):
        monkeypatch.setattr(RunDirectory, name, refused)
    again = run_experiment(setup(runner, NoDefense(**SMALL), report=False))
    assert again.verdict.hash() == made.verdict.hash()
    assert again.results["sa"] == made.results["sa"]
    assert "nothing can be written there" in caplog.text
    made.directory.joinpath("results.json").unlink()
    with pytest.raises(OSError, match="no"):
        run_experiment(setup(runner, NoDefense(**SMALL), report=False))


def test_a_full_disk_is_an_error(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    run_experiment(setup(runner, NoDefense(**SMALL), report=False))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(RunDirectory, "write_summary", full)
    with pytest.raises(OSError, match="no space left"):
        run_experiment(setup(runner, NoDefense(**SMALL), report=False))


def test_the_report_is_written_where_it_is_asked_for(runner: Runner, tmp_path: Path) -> None:
    made = run_experiment(setup(runner, NoDefense(**SMALL), verdict_only=True, report=False))
    assert made.report(tmp_path / "page.html") == tmp_path / "page.html"
    assert "Most suspicious" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_folder_that_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the directory of a run"):
        Experiment.load(tmp_path)


def test_the_table_has_the_names_that_one_types() -> None:
    results = {"recipe": "knn", "sa": 0.5, "asr": 0.25, "tpr": 1.0, "none_sa": 0.75, "none_asr": 1.0}
    verdict = Verdict.keep_all("a", torch.tensor([0]))
    lines = Experiment(Path("run"), results, verdict, ("cat",), "", NoDefense()).table.splitlines()
    assert [line.split() for line in lines] == [
        ["SA", "ASR", "TPR"], ["none", "75.0", "100.0", "-"], ["knn", "50.0", "25.0", "100.0"]
    ]  # fmt: skip


class MyOwn(NoDefense):
    pass


NAMES = {
    "none": NoDefense(),
    "oracle": Oracle(),
    "ispl": ISPL(),
    "knn": ContrastiveFilter(method="knn", pretrain_epochs=3),
    "energy": ContrastiveFilter(method="energy"),
    "knn_energy": ContrastiveFilter(method="knn_energy"),
    "self_training": SelfTraining(),
    "MyOwn": MyOwn(),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_has_the_name_of_its_config(name: str) -> None:
    assert recipe_name(NAMES[name]) == name
