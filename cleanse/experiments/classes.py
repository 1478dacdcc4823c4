"""Which classes a config may name, and that they are classes."""

import inspect
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from unittest.mock import patch

import jsonargparse
from jsonargparse import Namespace, set_parsing_settings
from torch import nn

from cleanse.experiments.messages import UsageError

OURS = ("cleanse", "kornia.augmentation", "lightning.pytorch", "torch.nn")
"""What a run may name that is only looked at: its import runs no code of the run's author."""


@contextmanager
def importing(everything: bool) -> Iterator[None]:
    """Bound what a config can have imported while the block runs.

    jsonargparse always refuses modules that execute, write or connect (os, subprocess, pickle, ...).

    Args:
        everything: other modules are imported, your own among them; false for `OURS` only.
    """
    settings: dict[str, Any] = jsonargparse._common.parsing_settings
    with patch.dict(settings):  # there is no public way to take a denial back
        set_parsing_settings(
            import_path_denylist=[] if everything else ["*"],
            import_path_allowlist=[] if everything else list(OURS),
            instantiate_subclass_spec_in_any=False,
        )
        yield


def check_classes(config: object, keys: tuple[str, ...] = ()) -> None:
    """See that everything that a parsed config would call is a class.

    Raises:
        UsageError: it names a function, or something else that can be called.
    """
    if isinstance(config, (Namespace, Mapping)):
        items = config.__dict__ if isinstance(config, Namespace) else config
        if isinstance(path := items.get("class_path"), str) and not inspect.isclass(imported(path)):
            raise _no_class(path, keys)
        for key, value in items.items():
            check_classes(value, keys if key in ("init_args", "class_path") else (*keys, str(key)))
    elif isinstance(config, (list, tuple)):
        for value in config:
            check_classes(value, keys)
    elif callable(config) and not inspect.isclass(config):
        raise _no_class(f"{getattr(config, '__module__', '')}.{getattr(config, '__qualname__', config)}", keys)


def imported(path: str) -> Any:
    """What a path names if its module has been imported; None otherwise."""
    module, _, name = path.rpartition(".")
    return getattr(sys.modules.get(module), name, None)


def prepare_classes(config: object, keys: tuple[str, ...] = ()) -> None:
    """Look at the classes that a merged config names before the parser does.

    Their untyped arguments get the type that the same argument of their base has: without one, ``network`` would be
    handed on as the config's text instead of the class that it names.

    Raises:
        UsageError: something that is named like a class is none.
    """
    if isinstance(config, Mapping):
        if isinstance(path := config.get("class_path"), str) and "." in path:
            found = _importable(path)
            if inspect.isclass(found):
                _complete(found)
            elif found is not None:
                raise _no_class(path, keys)
        for key, value in config.items():
            prepare_classes(value, keys if key == "init_args" else (*keys, str(key)))
    elif isinstance(config, (list, tuple)):
        for value in config:
            prepare_classes(value, keys)


def _importable(path: str) -> Any:
    """What a path names; of Python's own modules only if it is imported already, and None if it cannot be."""
    module, _, name = path.rpartition(".")
    if path.split(".")[0] in sys.stdlib_module_names:
        return imported(path)
    try:
        return getattr(import_module(module), name, None)
    except Exception:  # whatever it is, the parser says it
        return None


def _no_class(path: str, keys: tuple[str, ...]) -> UsageError:
    return UsageError(f"{'.'.join(keys)}: {path} is not a class: a config names classes, not functions", keys)


def _complete(found: type) -> None:
    made = found.__dict__.get("__init__")
    if not inspect.isfunction(made):
        return
    for name in list(inspect.signature(made).parameters)[1:]:
        if name in made.__annotations__:
            continue
        for base in found.__mro__[1:]:
            start = base.__dict__.get("__init__")
            hints = typing.get_type_hints(start) if inspect.isfunction(start) else {}
            if name in hints:
                made.__annotations__[name] = hints[name]
                break
        else:
            if name in ("network", "encoder"):  # as every recipe and module of ours takes it
                made.__annotations__[name] = Callable[..., nn.Module]
