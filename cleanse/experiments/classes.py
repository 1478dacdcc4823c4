"""Which classes a config may name, and that they are classes."""

import collections.abc
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


def check_classes(config: object, keys: tuple[str, ...] = (), hint: object = None) -> None:
    """See that what a parsed config would make objects with are classes.

    Args:
        config: any part of it.
        keys: that lead to it.
        hint: the type that is asked for there, where that is known.

    Raises:
        UsageError: it names a function, or something else that can be called.
    """
    if isinstance(config, (Namespace, Mapping)):
        items = config.__dict__ if isinstance(config, Namespace) else config
        path = items.get("class_path")
        found = imported(path) if isinstance(path, str) else None
        if isinstance(path, str) and not inspect.isclass(found):
            raise _no_class(path, keys)
        for key, value in items.items():
            if key == "init_args" and inspect.isclass(found):
                arguments = value.__dict__ if isinstance(value, Namespace) else value or {}
                for name, given in arguments.items():
                    check_classes(given, (*keys, name), hint_of(found, name))
            else:
                check_classes(value, keys if key == "class_path" else (*keys, str(key)))
    elif isinstance(config, (list, tuple)):
        for value in config:
            check_classes(value, keys, hint)
    elif callable(config) and not inspect.isclass(config) and _makes_objects(hint):
        raise _no_class(f"{getattr(config, '__module__', '')}.{getattr(config, '__qualname__', config)}", keys)


def hint_of(found: type, name: str) -> Any:
    """The type of a constructor's argument, of the class or of the base that it is handed on to; None without one."""
    for base in found.__mro__:
        start = base.__dict__.get("__init__")
        try:
            hints = typing.get_type_hints(start) if inspect.isfunction(start) else {}
        except Exception:  # names in quotes that cannot be resolved
            hints = {}
        if name in hints:
            return hints[name]
    return None


def _makes_objects(hint: object) -> bool:
    """Whether a type asks for something that makes objects of a class, as ``Callable[[int, int], nn.Module]`` does."""
    for part in (hint, *typing.get_args(hint)):
        made = typing.get_args(part)[-1:] if typing.get_origin(part) is collections.abc.Callable else ()
        if made and inspect.isclass(made[0]) and made[0].__module__ != "builtins":
            return True
    return False


def check_trusts_nobody(config: object) -> None:
    """See that a config does not say of itself that the classes in a frozen data set can be trusted.

    Raises:
        UsageError: it does.
    """
    if isinstance(config, Mapping):
        if config.get("trust"):
            raise UsageError(
                "trust: the config wants classes imported that are not ours: add --trust if they are yours"
            )
        for value in config.values():
            check_trusts_nobody(value)


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
        if name not in made.__annotations__:
            # without a base that takes it: as every recipe and module of ours does
            own = Callable[..., nn.Module] if name in ("network", "encoder") else None
            if (hint := hint_of(found, name) or own) is not None:
                made.__annotations__[name] = hint
