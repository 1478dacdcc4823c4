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
        if (right := _wrong(name, value)) is not None:
            raise UsageError.of_value(("trainer", name), right, value)


def _wrong(name: str, value: object) -> str | None:
    """What an argument is, if it is another one than that."""
    if name == "max_time" and value is not None and _seconds(value) <= 0:
        return "a time above 0, such as 00:01:00:00 (days:hours:minutes:seconds)"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    if not math.isfinite(value):
        return "a finite number"
    if (name in NOT_ZERO and value == 0) or (name == "accumulate_grad_batches" and value <= 0):
        return "a number above 0"
    if name == "gradient_clip_val" and value < 0:
        return "at least 0"
    if name == "overfit_batches" and value != 0:
        return "not supported, so 0 (fewer images: --data.limit_train)"
    if name == "limit_predict_batches" and (value, type(value)) != (1.0, float):
        return "1.0, for every image is judged (fewer images: --data.limit_train)"
    return None


def _seconds(time: object) -> float:
    """Of a Trainer's max_time; it is the Trainer that refuses one that is no time."""
    if not isinstance(time, (str, dict, timedelta)):
        return math.inf
    try:
        left = Timer(time).time_remaining()
    except (MisconfigurationException, TypeError, ValueError):
        return math.inf
    return math.inf if left is None else left
