"""Numbers that no training can use."""

from pathlib import Path

import pytest
from jsonargparse import Namespace

from cleanse.experiments.build import parse
from cleanse.experiments.messages import UsageError
from cleanse.experiments.numbers import check_numbers


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("lr", float("nan"), "a finite number"),
        ("percentile", float("nan"), "a finite number"),
        ("gamma", float("-inf"), "a finite number"),
        ("pretrain_lr", -0.1, "at least 0"),
        ("weight_decay", -1, "at least 0"),
        ("momentum", 1.0, "at least 0 and below 1"),
        ("supcon_temperature", 0.0, "a number above 0"),
        ("temperature", -0.5, "a number above 0"),
        ("gamma", 0, "a number above 0"),
        ("gamma", -1.0, "a number above 0"),
        ("virtual_lr", 0.0, "a number above 0"),
        ("density_limit", -1, "a number above 0"),
        ("lower_by", 0, "a number above 0"),
    ],
)
def test_what_no_training_can_use_is_named(name: str, value: float, right: str) -> None:
    config = Namespace(model=Namespace(class_path="cleanse.defenses.NoDefense", init_args=Namespace({name: value})))
    with pytest.raises(UsageError, match=f"model.{name}: {name} is {right}, not"):
        check_numbers(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gradient_clip_val", ".nan"),
        ("limit_train_batches", "0"),
        ("gradient_clip_val", "-1"),
        ("overfit_batches", "1"),
        ("max_time", "00:00:00:00"),
    ],
)
def test_a_command_looks_at_the_trainer_too(name: str, value: str, tmp_path: Path) -> None:
    words = ["fit", "--config", "none.yaml", "--config", "quick.yaml", "--root", str(tmp_path)]
    with pytest.raises(UsageError, match=f"trainer.{name}: {name} is"):
        parse([*words, f"--trainer.{name}", value])


@pytest.mark.parametrize(("words", "said"), [
    (["--model.network.init_args.width", "0"], "width is at least 1, not 0"),
    (["--model.milestones", "[-1]"], "milestones are epochs from 1 on"),
    (["--data.attack.target", "-1"], "target is at least 0, not -1"),
    (["--data.seed", "-1"], "seed is at least 0, not -1"),
])  # fmt: skip
def test_a_command_is_told_before_anything_is_trained(words: list[str], said: str, tmp_path: Path) -> None:
    shared = ["fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "attacks/badnets.yaml"]
    with pytest.raises((UsageError, ValueError), match=said):
        parse([*shared, "--root", str(tmp_path), *words])


def test_numbers_deep_inside_are_found() -> None:
    with pytest.raises(UsageError, match="alpha is a finite number"):
        check_numbers({"data": {"init_args": {"attack": {"init_args": {"alpha": [0.1, float("nan")]}}}}})


def test_an_argument_of_somebody_elses_class_may_mean_what_it_likes() -> None:
    theirs = {"model": {"class_path": "mine.Recipe", "init_args": {"lr": -1, "width": 0}}}
    check_numbers(theirs)
    ours = {"class_path": "cleanse.networks.SmallCNN", "init_args": {"width": 0}}
    with pytest.raises(UsageError, match="width is at least 1, not 0"):
        check_numbers({"model": {"class_path": "mine.Recipe", "init_args": {"lr": -1, "network": ours}}})


def test_what_can_be_used_is_left_alone() -> None:
    check_numbers(
        {"lr": 0, "momentum": 0.9, "weight_decay": 5e-4, "flag": True, "margin": -1, "name": "nan", "k": None}
    )
