"""Numbers of a config that no training can use, refused before the first one begins."""

import math
from collections.abc import Mapping

from jsonargparse import Namespace

from cleanse.experiments.messages import UsageError
from cleanse.utils.checked import wrong_number

MOST_SEED = 2**32 - 1
"""The largest that NumPy can be seeded with."""


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
            raise UsageError.of_value(keys, "a finite number", config)
        if ours and (right := wrong_number(name, config)) is not None:
            raise UsageError.of_value(keys, right, config)
