"""The recipe of neural attention distillation."""

from functools import partial
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.augment import PadCrop
from cleanse.data import Digits
from cleanse.defenses import NAD
from cleanse.engine.fingerprint import describe
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.networks import SmallCNN, SmallResNet


def recipe(**arguments: Any) -> NAD:
    return NAD(**{"network": SmallResNet, "epochs": 1, **arguments})


@pytest.fixture
def data() -> Digits:
    attack = BadNets(class_rate=0.2)
    return Digits(attack=attack, reserve_clean=2, limit_train=100, limit_test=20, batch_size=32, seed=0)


def tables(n: int) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "label_before": {"probability": torch.full((n,), 0.9)},
        "label_after": {"probability": torch.linspace(0, 0.9, n)},
    }


def test_teacher_and_student_learn_from_the_clean_images_alone(data: Digits, recording: Any) -> None:
    train, reserved = data.training_view(), data.reserved_view()
    assert reserved is not None
    run = recording(**tables(len(train)))
    outcome = recipe().cleanse(train, run, reserved)
    assert run.names == ["classifier", "teacher", "student", "label_before", "label_after"]
    assert run["classifier"].data.id == train.id
    assert run["teacher"].data.id == run["student"].data.id == reserved.id
    assert [run[name].arguments["max_epochs"] for name in ("teacher", "student")] == [10, 20]
    assert outcome.model is run["student"].module
    assert outcome.clean is not None
    assert outcome.clean.id == reserved.id


def test_every_argument_reaches_its_stage(data: Digits, recording: Any) -> None:
    train, reserved = data.training_view(), data.reserved_view()
    run = recording(**tables(len(train)))
    defense = recipe(
        epochs=3, lr=0.11, momentum=0.7, weight_decay=0.01, milestones=(2,), gamma=0.3, beta=(0.0, 2.0, 3.0),
        teacher_epochs=4, teacher_lr=0.012, distill_epochs=5, distill_lr=0.013, distill_milestones=(1, 3),
        distill_batch_size=9, distill_weight_decay=0.002,
    )  # fmt: skip
    defense.cleanse(train, run, reserved)
    attacked, teacher, student = (run[name] for name in ("classifier", "teacher", "student"))
    assert [call.trainer["max_epochs"] for call in (attacked, teacher, student)] == [3, 4, 5]
    learned = {"lr": 0.11, "momentum": 0.7, "weight_decay": 0.01, "milestones": [2], "gamma": 0.3}
    assert {name: attacked.built[name] for name in learned} == learned
    shared = {"momentum": 0.7, "weight_decay": 0.002, "gamma": 0.3, "nesterov": True}
    tuned, distilled = (describe(call.build.args[0])["with"] for call in (teacher, student))
    assert {name: tuned[name] for name in shared} == {name: distilled[name] for name in shared} == shared
    assert (tuned["lr"], tuned["milestones"], tuned["teacher"]) == (0.012, [], None)
    assert (distilled["lr"], distilled["milestones"], distilled["beta"]) == (0.013, [1, 3], [0.0, 2.0, 3.0])
    assert distilled["teacher"] == {"stage": "teacher"}
    assert teacher.view.batch_size == student.view.batch_size == 9


def test_both_begin_with_the_backdoored_network(data: Digits, recording: Any) -> None:
    train = data.training_view()
    run = recording(**tables(len(train)))
    recipe().cleanse(train, run, data.reserved_view())
    attacked = run["classifier"].module.state_dict()
    for name in ("teacher", "student"):
        assert all(torch.equal(value, attacked[key]) for key, value in run[name].module.state_dict().items())


@pytest.mark.parametrize("augment", [None, [], [PadCrop(2)]], ids=["the data's", "none", "its own"])
def test_the_images_it_repairs_with_have_an_augmentation_of_their_own(
    data: Digits, recording: Any, augment: list[torch.nn.Module] | None
) -> None:
    train = data.training_view()
    run, defense = recording(**tables(len(train))), recipe(augment=augment)
    defense.cleanse(train, run, data.reserved_view())
    own = train.augment if augment is None else tuple(augment)
    assert train.augment
    assert run["classifier"].data.augment == train.augment
    assert run["teacher"].data.augment == run["student"].data.augment == own
    planned = {stage.name: stage.data.augment for stage in defense.plan_verdict(train) or ()}
    assert planned["teacher"] == planned["student"] == own


def test_every_image_is_kept_and_the_score_is_what_its_label_has_lost(data: Digits, recording: Any) -> None:
    train = data.training_view()
    verdict = recipe().cleanse(train, recording(**tables(len(train))), data.reserved_view()).verdict
    assert verdict.kept.all()
    assert torch.allclose(verdict.score, 0.9 - torch.linspace(0, 0.9, len(train)))


def test_a_network_without_three_maps_is_refused_before_anything_is_trained(data: Digits, recording: Any) -> None:
    run = recording()
    with pytest.raises(ValueError, match="SmallCNN has no three feature maps"):
        recipe(network=SmallCNN).cleanse(data.training_view(), run, data.reserved_view())
    assert run.names == []


def test_without_clean_images_it_says_how_to_come_by_them(data: Digits, recording: Any) -> None:
    with pytest.raises(ValueError, match="NAD needs clean images"):
        recipe().cleanse(data.training_view(), recording(), None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": (1.0, 1.0)}, "beta are the weights of three maps"),
        ({"teacher_epochs": 0}, "teacher_epochs is at least 1"),
        ({"distill_batch_size": 0}, "distill_batch_size is at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**arguments)


@pytest.mark.slow
def test_it_takes_the_backdoor_out_of_the_digits(runner: Runner) -> None:
    """With the quick preset's network, augmentation and steps; the undefended classifier obeys the trigger."""
    data = Digits(attack=BadNets(class_rate=0.1), reserve_clean=7, batch_size=32, augment=[], seed=1)
    defense = NAD(
        network=partial(SmallResNet, width=16), epochs=8, milestones=(6,), distill_batch_size=16, distill_lr=0.01,
        distill_milestones=(10,), augment=[PadCrop(1)],
    )  # fmt: skip
    results = run_experiment(Setup(defense, data, runner, compare=["none"], report=False)).results
    assert results["none_asr"] > 0.9
    assert results["asr"] < 0.4  # 0.16 with the augmentation, 0.99 without
    assert results["sa"] > 0.85
