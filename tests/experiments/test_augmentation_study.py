"""The augmentation study at tiny size: its numbers against a loop, its files, and nothing twice."""

import csv
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.engine.runner import Runner, Table
from cleanse.experiments.augmentation_study import (
    AugmentationStudy,
    Draws,
    Row,
    _markdown,
    attack_names,
    box_values,
)
from cleanse.networks import SmallCNN
from cleanse.views import ImageView


def small(**arguments: object) -> AugmentationStudy:
    network = partial(SmallCNN, width=4)
    attacks = [BadNets(p, size=3, target=1, poison_rate=0.1) for p in ("gray", "checkerboard")]  # type: ignore[arg-type]
    given = {"network": network, "attacks": attacks, "augmentations": ["RCS0.5", "NoAug"], "draws": 2, "epochs": 1}
    return AugmentationStudy(**{**given, **arguments})  # type: ignore[arg-type]


def digits(**arguments: object) -> Digits:
    return Digits(limit_train=200, limit_test=60, labeled=0.2, **arguments)  # type: ignore[arg-type]


def test_the_numbers_are_those_of_a_loop_and_nothing_is_computed_twice(runner: Runner) -> None:
    found = small().study(digits(), runner, "config: yaml\n")
    names = ["BadNets gray", "BadNets checkerboard"]
    draws = [("RCS0.5", 0), ("RCS0.5", 1), ("NoAug", 0)]
    assert [(r.attack, r.augmentation, r.draw) for r in found.rows] == [(n, *d) for n in names for d in draws]

    data = digits(attack=BadNets("gray", size=3, target=1, poison_rate=0.1))
    data.seed = 0
    train = data.training_view()
    model = runner.fit("teacher", small()._classifier(data), train.subset(train.labeled), max_epochs=1)
    clean, triggered = data.clean_test(), data.triggered_test()
    assert triggered is not None
    plain = model(clean.batch(torch.arange(len(clean)), augmented=False)["image"]).argmax(1)
    fooled = model(triggered.batch(torch.arange(len(triggered)), augmented=False)["image"]).argmax(1)
    row = found.rows[2]
    assert row.sa == pytest.approx((plain == clean.label).double().mean().item(), abs=1e-9)
    assert row.asr == pytest.approx((fooled == 1).double().mean().item(), abs=1e-9)
    assert not (triggered.label == 1).any()
    assert int(train.labeled.sum()) == 40

    with (found.directory / "study.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [
        Row(**{**r, "draw": int(r["draw"]), "sa": float(r["sa"]), "asr": float(r["asr"])}) for r in table
    ] == found.rows
    told = json.loads((found.directory / "study.json").read_text())
    assert told["attacks"] == names
    assert len(told["rows"]) == 6
    sides = {k: abs(told[f"calibration_{k}_sa"] - 0.2) for k in ("area", "side")}
    assert sides[told["calibration_reading"]] == min(sides.values())
    assert (found.directory / "study.png").read_bytes()[1:4] == b"PNG"
    assert "RCS0.5" in (found.directory / "study.svg").read_text()
    assert (found.directory / "study.md").read_text().count("\n| ") == 3
    assert found.table.splitlines()[1].startswith("NoAug")

    before = {p.name: p.read_bytes() for p in found.directory.iterdir()}
    again = Runner(runner.root, arguments=runner.arguments)
    same = small().study(digits(), again, "config: yaml\n")
    assert again.computed == 0
    assert same == found
    assert before == {p.name: p.read_bytes() for p in found.directory.iterdir()}


def test_a_box_is_over_attacks_of_the_means_over_draws_and_variants() -> None:
    """As in the paper: "we average the results of 6 independent runs"."""
    values = {"A": [0.1, 0.3], "B": [0.5, 0.9]}
    rows = [Row(n, "GNoise", f"GNoise{d}", d, sa, 1 - sa) for n, drawn in values.items() for d, sa in enumerate(drawn)]
    boxes = box_values(rows, ["GNoise"], ["A", "B"])
    assert boxes["Standard accuracy (SA)"]["GNoise"]["A"] == pytest.approx([0.2])
    assert boxes["Standard accuracy (SA)"]["GNoise"]["B"] == pytest.approx([0.7])
    assert boxes["Attack success rate (ASR)"]["GNoise"]["A"] == pytest.approx([0.8])


class Wrong:
    """A runner whose classifier is right about no image."""

    def predict(self, name: str, module: Draws, data: ImageView) -> Table:
        return Table({"prediction": ((data.label + 1) % 10)[:, None].expand(-1, len(module.augmentations))})


def test_an_asr_of_no_image_is_none_and_not_zero(runner: Runner) -> None:
    """Of an untargeted attack, ASR is of the images that are right without the trigger: here there is none."""
    attack = BadNets(count=3, labels="random")
    data, study = digits(attack=attack), small(attacks=(), augmentations=["NoAug"])
    model: Any = study._classifier(data)()
    model.stage_key = "key"
    wrong: Any = Wrong()
    (row,) = study._measure("BadNets", "NoAug", attack, model, data, wrong)
    assert (row.sa, row.asr) == (0.0, None)
    found = {"data": "Digits", "draws": 1, "calibration_area_sa": 0.2, "calibration_side_sa": 0.1}
    page = _markdown({**found, "calibration_reading": "area"}, [row], ["NoAug"], ["BadNets"])
    assert page.splitlines()[-1] == "| NoAug | 0.0 | - | 0.0 | - |"
    some = row._replace(attack="Blend", asr=0.5)
    assert "| NoAug | 0.0 | - | 0.0 | 50.0 | 0.0 | 50.0 |" in _markdown(
        {**found, "calibration_reading": "area"}, [row, some], ["NoAug"], ["BadNets", "Blend"]
    )


def test_draws_of_one_augmentation_differ_and_belong_to_the_key(runner: Runner) -> None:
    data = Digits(limit_train=200, limit_test=60)
    model = runner.fit("teacher", small()._classifier(data), data.training_view(), max_epochs=1)
    noise = torch.nn.Dropout(0.5).train()
    assert Draws(model, [noise] * 2).stage_key != Draws(model, [noise] * 3).stage_key
    table = runner.predict("draws", Draws(model, [torch.nn.Identity()] * 2), data.clean_test())
    assert table.prediction.shape == (60, 2)
    assert table.prediction[:, 0].equal(table.prediction[:, 1])


def test_whose_attacks_are_studied(runner: Runner) -> None:
    with pytest.raises(ValueError, match="no attack to study"):
        small(attacks=()).study(digits(), runner)
    own = digits(attack=BadNets("noise", target=1, count=3))
    found = small(attacks=(), augmentations=["NoAug"], draws=1).study(own, runner)
    assert [r.attack for r in found.rows] == ["BadNets"]
    with pytest.raises(ValueError, match="there twice"):
        attack_names([BadNets(count=1), BadNets(count=1)])


@pytest.mark.parametrize(
    "wrong, why",
    [
        ({"augmentations": ["NoAug", "Flap"]}, "no augmentation 'Flap'"),
        ({"augmentations": []}, "list of different names"),
        ({"augmentations": ["NoAug", "NoAug"]}, "list of different names"),
        ({"draws": 0}, "at least 1"),
    ],
)
def test_refuses_wrong_arguments(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        small(**wrong)


def test_the_shipped_config_runs(cleanse: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    done = cleanse(
        "fit", "--config", "augmentation_study.yaml", "--config", "quick.yaml", "--data.limit_train", "150",
        "--data.limit_test", "50", "--model.epochs", "1", "--model.augmentations", "[NoAug, GNoise]",
        "--model.draws", "1",
    )  # fmt: skip
    directory = tmp_path / done.stdout.splitlines()[-1]
    assert "GNoise" in done.stdout
    assert "closer to the 20 %" in done.stdout
    assert {r["attack"] for r in json.loads((directory / "study.json").read_text())["rows"]} == {"BadNets", "Blend"}
    assert "AugmentationStudy" in (directory / "config.yaml").read_text()
