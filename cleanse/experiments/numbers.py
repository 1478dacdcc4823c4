"""Numbers of a config that no training can use, refused before the first one begins."""

import math
from collections.abc import Mapping
from datetime import timedelta

from jsonargparse import Namespace
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer

from cleanse.experiments.messages import UsageError
from cleanse.utils.checked import wrong_number

MOST_SEED = 2**32 - 1
"""The largest that NumPy can be seeded with."""
NOT_ZERO = ("limit_train_batches", "max_steps")
"""Of the Trainer, which would train nothing, and say that it is done."""


def check_numbers(config: object, keys: tuple[str, ...] = (), ours: bool = False) -> None:
    """See that numbers are finite, and those of our classes in the range that their names stand for.

    NaN is neither too small nor too large, so that it would reach the weights: hours later, and without a word. What a
    constructor of ours would say is said here with the keys that lead to the number, and for networks, which are made
    much later, before anything begins.

    Args:
        config: any part of a parsed config.
        keys: that lead to it.
        ours: it is the argument of a class of this package.

    Raises:
        UsageError: names the argument and its value.
    """
    if isinstance(config, (Namespace, Mapping)):
        items = config.__dict__ if isinstance(config, Namespace) else config
        ours = str(items.get("class_path", "")).startswith("cleanse.") if "class_path" in items else ours
        for key, value in items.items():
            check_numbers(value, keys if key == "init_args" else (*keys, str(key)), ours)
    elif isinstance(config, (list, tuple)):
        for value in config:
            check_numbers(value, keys, ours)
    elif isinstance(config, (int, float)) and not isinstance(config, bool):
        name = keys[-1] if keys else ""
        if not math.isfinite(config):
            raise _refused(keys, "a finite number", config)
        if ours and (right := wrong_number(name, config)) is not None:
            raise _refused(keys, right, config)


def check_trainer(config: Mapping[str, object]) -> None:
    """See that a Trainer's numbers let it train, and judge every image; that they are finite, `check_numbers` sees.

    Raises:
        UsageError: names the argument and its value.
    """
    for name, value in config.items():
        keys = ("trainer", name)
        number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
        if name == "max_time" and value is not None and _seconds(value) <= 0:
            raise _refused(keys, "a time above 0, such as 00:01:00:00 (days:hours:minutes:seconds)", value)
        if number is None:
            continue
        if name in NOT_ZERO and number == 0:
            raise _refused(keys, "a number above 0", number)
        if name == "accumulate_grad_batches" and number <= 0:
            raise _refused(keys, "a number above 0", number)
        if name == "gradient_clip_val" and number < 0:
            raise _refused(keys, "at least 0", number)
        if name == "overfit_batches" and number != 0:
            raise _refused(keys, "not supported, so 0 (fewer images: --data.limit_train)", number)
        if name == "limit_predict_batches" and (number, type(number)) != (1.0, float):
            raise _refused(keys, "1.0, for every image is judged (fewer images: --data.limit_train)", number)


def _seconds(time: object) -> float:
    """Of a Trainer's max_time; it is the Trainer that refuses one that is no time."""
    if isinstance(time, Namespace):
        time = time.as_dict()
    if not isinstance(time, (str, dict, timedelta)):
        return math.inf
    try:
        left = Timer(time).time_remaining()
    except (MisconfigurationException, TypeError, ValueError):
        return math.inf
    return math.inf if left is None else left


def _refused(keys: tuple[str, ...], right: str, value: object) -> UsageError:
    return UsageError(f"{'.'.join(keys)}: {keys[-1]} is {right}, not {value}", keys)
