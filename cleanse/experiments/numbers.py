"""Numbers of a config that no training can use, refused before the first one begins."""

import math
from collections.abc import Mapping

from jsonargparse import Namespace

from cleanse.experiments.messages import UsageError

NOT_ZERO = ("limit_train_batches", "limit_predict_batches", "max_steps")
"""Of the Trainer, which would train nothing, or judge nothing, and say that it is done."""

ABOVE_ZERO = ("gamma", "virtual_lr", "density_limit", "lower_by", "accumulate_grad_batches")
"""With which nothing is learned, or nothing is told apart, at 0; and nonsense below."""


def check_numbers(config: object, keys: tuple[str, ...] = ()) -> None:
    """See that numbers are finite, learning rates and weight decays at least 0, momentum below 1, temperatures above 0.

    Likewise those of `ABOVE_ZERO`, and of the Trainer `NOT_ZERO`, ``gradient_clip_val`` and ``overfit_batches``.
    NaN is neither too small nor too large, so that it would reach the weights: hours later, and without a word.

    Args:
        config: any part of a parsed config.
        keys: that lead to it.

    Raises:
        UsageError: names the argument and its value.
    """
    if isinstance(config, (Namespace, Mapping)):
        for key, value in (config.__dict__ if isinstance(config, Namespace) else config).items():
            check_numbers(value, keys if key == "init_args" else (*keys, str(key)))
    elif isinstance(config, (list, tuple)):
        for value in config:
            check_numbers(value, keys)
    elif isinstance(config, (int, float)) and not isinstance(config, bool):
        name = keys[-1] if keys else ""
        if not math.isfinite(config):
            _refuse(keys, "a finite number", config)
        if (name in ("lr", "gradient_clip_val") or name.endswith(("_lr", "weight_decay"))) and config < 0:
            _refuse(keys, "at least 0", config)
        if (name == "temperature" or name.endswith("_temperature")) and config <= 0:
            _refuse(keys, "above 0", config)
        if name in ABOVE_ZERO and config <= 0:
            _refuse(keys, "a number above 0", config)
        if name == "overfit_batches" and config != 0:
            _refuse(keys, "0, since no recipe can use it (fewer images: --data.limit_train)", config)
        if name in NOT_ZERO and config == 0:
            _refuse(keys, "a number above 0", config)
        if name == "momentum" and not 0 <= config < 1:
            _refuse(keys, "at least 0 and below 1", config)


def _refuse(keys: tuple[str, ...], right: str, value: float) -> None:
    raise UsageError(f"{'.'.join(keys)}: {keys[-1]} is {right}, not {value}", keys)
