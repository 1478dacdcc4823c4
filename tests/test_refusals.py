"""Every constructor of an attack or a recipe refuses what it cannot use, by the name of the argument."""

import inspect
from functools import partial
from typing import Any

import pytest

from cleanse import attacks, defenses
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.utils.checked import constructor_signature

NEEDED: dict[str, Any] = {
    "secret_epochs": 0,
    "surrogate": partial(Classifier, SmallCNN),
    "surrogate_epochs": 2,
    "poison_from": "made.npy",
}
NOT_ALONE = ("Attack", "Several", "Imported", "Poisoned")
CLASSES = {
    name: one
    for name, one in {**vars(attacks), **vars(defenses)}.items()
    if inspect.isclass(one) and not inspect.isabstract(one) and name not in NOT_ALONE
    if {"network", "count"} & constructor_signature(one).parameters.keys()
}
AT_LEAST_1 = ("epochs", "batch_size", "iterations", "rounds", "passes", "draws", "reflections")
OTHERWISE = ("by_class_epochs", "secret_epochs", "tune_epochs", "pretrain_batch_size")
"""The first three may be 0, and a contrast needs two images."""
SHARES = ("cover_rate", "class_rate", "poison_rate", "share", "transmission")


def arguments_of(one: type) -> dict[str, inspect.Parameter]:
    return dict(constructor_signature(one).parameters)


def make(one: type, **changed: Any) -> Any:
    known = arguments_of(one)
    needed = {name: value for name, value in NEEDED.items() if name in known}
    if "count" in known and not set(changed) & {"class_rate", "poison_rate"}:
        needed["count"] = 3
    return one(**{**needed, **changed})


COUNTS = [
    (name, argument)
    for name, one in CLASSES.items()
    for argument, parameter in arguments_of(one).items()
    if argument.endswith(AT_LEAST_1)
    and argument not in OTHERWISE
    and isinstance(parameter.default, int)
    and parameter.default > 0
]
RATES = [
    (name, argument, wrong)
    for name, one in CLASSES.items()
    for argument in arguments_of(one)
    if argument in SHARES
    for wrong in (-0.01, 1.01)
]


def test_there_is_something_to_refuse() -> None:
    assert len(COUNTS) > 60
    assert len(RATES) > 60


@pytest.mark.parametrize(("name", "argument"), COUNTS)
def test_a_number_of_epochs_or_images_is_at_least_one(name: str, argument: str) -> None:
    make(CLASSES[name], **{argument: 1})
    with pytest.raises(ValueError, match=rf"^{argument} is .*at least 1, not 0"):
        make(CLASSES[name], **{argument: 0})


@pytest.mark.parametrize(("name", "argument", "wrong"), RATES)
def test_a_share_is_between_0_and_1(name: str, argument: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"^{argument} is .*(between 0 and |above 0 and at most 1|in \(0, 1\])"):
        make(CLASSES[name], **{argument: wrong})
