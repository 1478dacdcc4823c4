"""What every constructor of ours looks at: arguments of another type, and numbers that nothing can be made with."""

import inspect
import math
import os
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence, Set
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Self


class Checked:
    """A class whose constructor refuses what its arguments' names and annotations rule out, before it runs.

    Recipes, attacks, data, modules, networks, encoders and augmentations derive from it, so that Python is told what a
    config is told. A subclass in somebody else's package is held to it for the arguments that ours have, with its own
    annotations, and not for others.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        signature = constructor_signature(cls)
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # unpickling and copying call __new__ bare; a wrong call is refused by __init__ itself
            return super().__new__(cls)
        ours = {name for base in cls.__mro__ if _is_ours(base) for name in _parameters(base)}
        for name, value in given.items():
            if name in ours:
                check_argument(name, value, signature.parameters[name].annotation)
        return super().__new__(cls)


def constructor_signature(cls: type) -> inspect.Signature:
    """The arguments of a class's constructor, without ``self``, and with those that ``**kwargs`` hands to its bases.

    A subclass names its own arguments and passes the rest on (``super().__init__(**kwargs)``). Configs, ``--help`` and
    cache keys see them all: the subclass's first, then the bases', by keyword only. An argument that both name is the
    subclass's.

    >>> class Base:
    ...     def __init__(self, lr: float = 0.1, epochs: int = 10) -> None: ...
    >>> class Own(Base):
    ...     def __init__(self, k: int, epochs: int = 5, **kwargs: float) -> None: ...
    >>> str(constructor_signature(Own))
    '(k: int, epochs: int = 5, *, lr: float = 0.1)'
    """
    found: dict[str, inspect.Parameter] = {}
    for base in (base for base in cls.__mro__ if "__init__" in vars(base)):
        own = list(_parameters(base).values())
        named = [parameter for parameter in own if parameter.kind is not inspect.Parameter.VAR_KEYWORD]
        if found:
            named = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in named]
        for parameter in named:
            found.setdefault(parameter.name, parameter)
        if len(named) == len(own):
            break
    return inspect.Signature(sorted(found.values(), key=lambda parameter: parameter.kind))


def _parameters(base: type) -> Mapping[str, inspect.Parameter]:
    """Those of the constructor that the class itself has, without ``self``."""
    own = inspect.signature(vars(base)["__init__"]).parameters.items() if "__init__" in vars(base) else ()
    return dict(list(own)[1:])


def _is_ours(base: type) -> bool:
    return base.__module__.partition(".")[0] == __name__.partition(".")[0]


def check_argument(name: str, value: object, hint: object) -> None:
    """Refuse a value of another type than the annotation's, or outside the range that the name stands for.

    Raises:
        ValueError: says what the argument is.

    >>> check_argument("epochs", 2.5, int)
    Traceback (most recent call last):
    ValueError: epochs is a whole number, not 2.5
    >>> check_argument("momentum", 1.0, float)
    Traceback (most recent call last):
    ValueError: momentum is at least 0 and below 1, not 1.0
    """
    if not _fits(value, hint):
        raise ValueError(f"{name} is {_words(hint)}, not {value!r}")
    several = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    if name.endswith("milestones") and any(b <= a for a, b in zip((0, *several), several, strict=False)):
        raise ValueError(f"{name} are epochs from 1 on, each later than the one before, not {list(several)}")
    for number in several:
        if (right := wrong_number(name, number)) is not None:
            raise ValueError(f"{name} is {right}, not {number}")


def wrong_number(name: str, value: object) -> str | None:
    """What an argument of this name is, if the value is another number than that.

    >>> wrong_number("pretrain_lr", -0.1), wrong_number("pretrain_lr", 0.1)
    ('at least 0', None)
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if not math.isfinite(value):
        return "a finite number"
    return next((words for words, fits in _ranges(name) if not fits(float(value))), None)


Range = tuple[str, Callable[[float], bool]]
AT_LEAST_0: Range = ("at least 0", lambda value: value >= 0)
AT_LEAST_1: Range = ("at least 1", lambda value: value >= 1)
ABOVE_0: Range = ("a number above 0", lambda value: value > 0)
SHARE: Range = ("a share, between 0 and 1", lambda value: 0 <= value <= 1)

RANGES: Mapping[str, Range] = {
    **dict.fromkeys(
        ("lr", "weight_decay", "pretrain_warmup_epochs", "target", "source", "seed", "class_seed", "cover_classes",
         "row", "column", "hold", "grow_by"), AT_LEAST_0,
    ),
    **dict.fromkeys(("width", "widths", "head_width", "blocks", "dimension"), AT_LEAST_1),
    **dict.fromkeys(
        ("temperature", "gamma", "virtual_lr", "density_limit", "lower_by", "excess", "separate", "trait"), ABOVE_0
    ),
    **dict.fromkeys(("disruptive_above", "far_below"), SHARE),
    "momentum": ("at least 0 and below 1", lambda value: 0 <= value < 1),
    "label_smoothing": ("a share of the target, at least 0 and below 1", lambda value: 0 <= value < 1),
    "least_silhouette": ("a silhouette, between -1 and 1", lambda value: -1 <= value <= 1),
}  # fmt: skip
"""By an argument's name. What takes several arguments, or words of its own, a constructor looks at itself."""

ENDINGS: Mapping[str, Range] = {"_lr": AT_LEAST_0, "_weight_decay": AT_LEAST_0, "_temperature": ABOVE_0}
"""By the end of an argument's name, if that itself has no range."""


def _ranges(name: str) -> list[Range]:
    if name in RANGES:
        return [RANGES[name]]
    return [found for ending, found in ENDINGS.items() if name.endswith(ending)]


_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", NoneType: "none"}


def _fits(value: object, hint: object) -> bool:
    """Whether a value is of a type; true for types that are not looked into."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (UnionType, typing.Union):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return isinstance(value, Hashable) and value in inner
    if origin is Callable or hint is Callable:
        return callable(value)
    if origin in (tuple, Sequence, list) and inner:
        if isinstance(value, (str, bytes, Mapping, Set)) or not hasattr(value, "__iter__"):
            return False
        parts = list(value)
        wanted = inner if _has_length(hint) else (inner[0],) * len(parts)
        return len(parts) == len(wanted) and all(map(_fits, parts, wanted))
    if hint is bool:
        return isinstance(value, Hashable) and value in (True, False)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, (str, os.PathLike))
    return value is None if hint in (None, NoneType) else True


def _has_length(hint: object) -> bool:
    return typing.get_origin(hint) is tuple and ... not in typing.get_args(hint)


def _words(hint: object) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (UnionType, typing.Union):
        return " or ".join(_words(part) for part in inner)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (tuple, Sequence, list):
        count = f"{len(inner)} " if _has_length(hint) else ""
        if len({*inner} - {...}) > 1:
            return f"a list of {count}values ({', '.join(map(_words, inner))})"
        return f"a list of {count}{_words(inner[0]).removeprefix('a ')}s"
    if origin is Callable:
        return "a class or a function"
    return str(_WORDS.get(hint, getattr(hint, "__name__", hint)))  # type: ignore[call-overload]
