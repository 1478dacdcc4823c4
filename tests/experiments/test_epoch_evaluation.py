"""Curves of SA and ASR: they are what the evaluation says, and looking changes nothing."""

import csv
from functools import partial
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from cleanse.attacks import BadNets
from cleanse.augment import PadCrop
from cleanse.data import Digits
from cleanse.engine.runner import Runner
from cleanse.experiments.epoch_evaluation import EpochEvaluation
from cleanse.experiments.evaluation import evaluate_classifier
from cleanse.modules import Classifier, SimCLR
from cleanse.networks import SmallResNet


@pytest.fixture
def data() -> Digits:
    return Digits(BadNets(class_rate=0.1), limit_train=120, limit_test=60, batch_size=32, augment=[PadCrop(1)], seed=0)


def runner(root: Path) -> Runner:
    return Runner(
        root, arguments={"accelerator": "cpu", "devices": 1},
        loggers=lambda directory, name: [CSVLogger(directory, name="", version="metrics")],
    )  # fmt: skip


def test_the_weights_are_bit_for_bit_the_same_and_the_curve_ends_at_the_evaluation(
    data: Digits, tmp_path: Path
) -> None:
    view = data.training_view()
    build = partial(Classifier, partial(SmallResNet, width=4), view.image_spec)
    plain = runner(tmp_path / "plain").fit("classifier", build, view, max_epochs=3)
    run = runner(tmp_path / "watched")
    with run.watching([EpochEvaluation(data)]):
        watched = run.fit("classifier", build, view, max_epochs=3)
    assert plain.stage_key == watched.stage_key
    for (name, a), (_, b) in zip(plain.state_dict().items(), watched.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    with (run.stages[0][1] / "metrics" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    figures = evaluate_classifier(watched, data, run)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(row["train/loss"] for row in rows)
    assert float(rows[-1]["sa"]) == pytest.approx(figures["sa"])
    assert float(rows[-1]["asr"]) == pytest.approx(figures["asr"])
    first = (tmp_path / "plain").glob("classifier-*/metrics/metrics.csv")
    assert "sa" not in next(first).read_text().splitlines()[0].split(",")


def test_what_is_no_classifier_is_left_alone(data: Digits, tmp_path: Path) -> None:
    view = data.training_view()
    run = runner(tmp_path)
    build = partial(SimCLR, partial(SmallResNet, width=4), view.image_spec, view.contrastive_augment)
    with run.watching([EpochEvaluation(data)]):
        run.fit("simclr", build, view.plain(), max_epochs=1)
    assert "sa" not in (run.stages[0][1] / "metrics" / "metrics.csv").read_text().splitlines()[0].split(",")
