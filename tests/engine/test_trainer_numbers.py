"""Trainers that would train or judge nothing."""

from datetime import timedelta
from functools import partial

import pytest

from cleanse.engine.runner import Runner
from cleanse.engine.trainer_numbers import check_trainer
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.usage_error import UsageError
from cleanse.views import TrainingView


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("limit_train_batches", 0, "a number above 0"),
        ("limit_train_batches", 0.0, "a number above 0"),
        ("max_steps", 0, "a number above 0"),
        ("accumulate_grad_batches", 0, "a number above 0"),
        ("gradient_clip_val", -1, "at least 0"),
        ("overfit_batches", 0.5, "not supported, so 0"),
        ("limit_predict_batches", 0, "1.0, for every image is judged"),
        ("limit_predict_batches", 0.5, "1.0, for every image is judged"),
        ("limit_predict_batches", 1, "1.0, for every image is judged"),
        ("max_time", "00:00:00:00", "a time above 0"),
        ("max_time", {"minutes": 0}, "a time above 0"),
        ("max_time", timedelta(0), "a time above 0"),
        ("gradient_clip_val", float("nan"), "a finite number"),
        ("limit_train_batches", float("inf"), "a finite number"),
    ],
)
def test_a_trainer_that_would_train_or_judge_nothing_is_refused(name: str, value: object, right: str) -> None:
    with pytest.raises(UsageError, match=f"trainer.{name}: {name} is {right}"):
        check_trainer({name: value})
    with pytest.raises(ValueError, match=f"{name} is {right}"):
        Runner(arguments={name: value})


def test_a_stage_of_ones_own_is_held_to_it(runner: Runner, view: TrainingView) -> None:
    build = partial(Classifier, SmallCNN, view.image_spec)
    with pytest.raises(ValueError, match="limit_train_batches is a number above 0, not 0"):
        runner.fit("classifier", build, view, max_epochs=1, limit_train_batches=0)
    assert not runner.stages


def test_a_trainer_that_trains_is_left_alone() -> None:
    check_trainer(
        {
            "limit_train_batches": 0.5, "max_steps": -1, "max_epochs": None, "limit_predict_batches": 1.0,
            "overfit_batches": 0.0, "gradient_clip_val": 0, "accumulate_grad_batches": 1, "max_time": "00:00:01:00",
        }
    )  # fmt: skip
    check_trainer({"max_time": {"hours": 1}, "limit_predict_batches": None, "gradient_clip_val": None})
    check_trainer({"max_time": "no time"})  # which Lightning refuses itself
