"""Numbers with which a Trainer would train or judge nothing, and say that it is done."""

import math
from collections.abc import Mapping
from datetime import timedelta

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer

from cleanse.utils.usage_error import UsageError

NOT_ZERO = ("limit_train_batches", "max_steps")
"""Which would train nothing."""


def check_trainer(arguments: Mapping[str, object]) -> None:
    """See that a Trainer's numbers let it train, and judge every image.

    Args:
        arguments: of a Trainer, by their names.

    Raises:
        UsageError: names the argument and its value.
    """
    for name, value in arguments.items():
        if name == "max_time" and value is not None and _seconds(value) <= 0:
            raise _refused(name, "a time above 0, such as 00:01:00:00 (days:hours:minutes:seconds)", value)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        if not math.isfinite(value):
            raise _refused(name, "a finite number", value)
        if name in NOT_ZERO and value == 0:
            raise _refused(name, "a number above 0", value)
        if name == "accumulate_grad_batches" and value <= 0:
            raise _refused(name, "a number above 0", value)
        if name == "gradient_clip_val" and value < 0:
            raise _refused(name, "at least 0", value)
        if name == "overfit_batches" and value != 0:
            raise _refused(name, "not supported, so 0 (fewer images: --data.limit_train)", value)
        if name == "limit_predict_batches" and (value, type(value)) != (1.0, float):
            raise _refused(name, "1.0, for every image is judged (fewer images: --data.limit_train)", value)


def _seconds(time: object) -> float:
    """Of a Trainer's max_time; it is the Trainer that refuses one that is no time."""
    if not isinstance(time, (str, dict, timedelta)):
        return math.inf
    try:
        left = Timer(time).time_remaining()
    except (MisconfigurationException, TypeError, ValueError):
        return math.inf
    return math.inf if left is None else left


def _refused(name: str, right: str, value: object) -> UsageError:
    return UsageError(f"trainer.{name}: {name} is {right}, not {value}", ("trainer", name))
