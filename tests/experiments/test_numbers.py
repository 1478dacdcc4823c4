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
        ("supcon_temperature", 0.0, "above 0"),
        ("temperature", -0.5, "above 0"),
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
    "name", ["limit_train_batches", "limit_predict_batches", "max_steps", "accumulate_grad_batches"]
)
def test_a_trainer_that_would_train_or_judge_nothing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"trainer.{name}: {name} is a number above 0, not 0"):
        check_numbers(Namespace(trainer=Namespace({name: 0})))
    check_numbers(Namespace(trainer=Namespace({"limit_train_batches": 0.5, "max_steps": -1, name: None})))


@pytest.mark.parametrize(
    ("name", "value"), [("limit_train_batches", 0), ("gradient_clip_val", -1), ("overfit_batches", 1)]
)
def test_a_command_looks_at_the_trainer_too(name: str, value: int, tmp_path: Path) -> None:
    words = ["fit", "--config", "none.yaml", "--config", "quick.yaml", "--root", str(tmp_path)]
    with pytest.raises(UsageError, match=f"trainer.{name}: {name} is"):
        parse([*words, f"--trainer.{name}", str(value)])


def test_numbers_deep_inside_are_found() -> None:
    with pytest.raises(UsageError, match="alpha is a finite number"):
        check_numbers({"data": {"init_args": {"attack": {"init_args": {"alpha": [0.1, float("nan")]}}}}})


def test_what_can_be_used_is_left_alone() -> None:
    check_numbers(
        {"lr": 0, "momentum": 0.9, "weight_decay": 5e-4, "flag": True, "margin": -1, "name": "nan", "k": None}
    )
