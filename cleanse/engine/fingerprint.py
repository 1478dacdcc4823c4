"""What an object was made from, as plain values: the part of a cache key that must never forget an argument."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from cleanse.utils.checked import Checked, constructor_signature


class Described(Checked):
    """A class whose instances remember their constructor's arguments (defaults filled in) in ``arguments``.

    Attacks, data modules and recipes derive from it, so that a new argument is part of every cache key
    without anybody thinking of it. ``undescribed`` names the arguments that cannot change a result (a path,
    a number of workers).
    """

    arguments: dict[str, Any]
    undescribed: frozenset[str] = frozenset()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls, *args, **kwargs)
        try:
            bound = constructor_signature(cls).bind(*args, **kwargs)
        except TypeError:  # unpickling and copying call __new__ bare; a wrong call is refused by __init__ itself
            return made
        bound.apply_defaults()
        object.__setattr__(made, "arguments", dict(bound.arguments))
        return made


def describe(value: Any) -> Any:
    """``value`` as JSON-ready data that is equal exactly when the value means the same.

    Numbers, strings, containers and tensors (by content) describe themselves; a `Described` instance by its class
    and arguments; a class, a function or a ``functools.partial`` by its qualified name and bound arguments; an
    object with a ``spec()`` or a ``stage_key`` by that; any other ``nn.Module`` by its class and public attributes.

    Raises:
        ValueError: for a lambda or an object without a description.

    >>> describe(partial(round, ndigits=2))
    {'call': 'builtins.round', 'with': {'ndigits': 2}}
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Tensor):
        return {"tensor": tensor_hash(value)}
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted((describe(v) for v in value), key=str)
    if isinstance(value, partial):
        return _describe_call(value)
    if isinstance(value, type):
        return _name(value)
    if (key := getattr(value, "stage_key", None)) is not None:
        return {"stage": key}
    if callable(spec := getattr(value, "spec", None)):
        return describe(spec())
    if isinstance(value, Described):
        shown = {k: v for k, v in value.arguments.items() if k not in value.undescribed}
        return {"class": _name(type(value)), "with": describe(shown)}
    if isinstance(value, torch.nn.Module):
        return _describe_module(value)
    if callable(value) and hasattr(value, "__qualname__"):
        if "<" in value.__qualname__:
            raise ValueError(
                f"{value.__qualname__} has no name that lasts: give a class or a functools.partial instead"
            )
        return _name(value)
    if hasattr(value, "__dict__"):
        return {"class": _name(type(value)), "with": describe(vars(value))}
    raise ValueError(f"{value!r} cannot be described for a cache key: give it a spec() method")


def hash_of(value: Any, length: int = 12) -> str:
    """A short hexadecimal hash of ``describe(value)``; the same on every machine and in every process."""
    text = json.dumps(describe(value), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]


def tensor_hash(tensor: Tensor) -> str:
    """Hash of a tensor's type, shape and content."""
    plain = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype}{tuple(plain.shape)}".encode())
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return digest.hexdigest()[:16]


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _describe_call(call: "partial[Any]") -> dict[str, Any]:
    """A partial by its target and its arguments under their names, so that position or keyword makes no difference."""
    target: Any = call.func
    args, kwargs = list(call.args), dict(call.keywords)
    while isinstance(target, partial):  # partial(partial(Network, width=8), 3, 10)
        args, kwargs, target = [*target.args, *args], {**target.keywords, **kwargs}, target.func
    if type(target).__module__.startswith("lightning") or target.__module__.startswith("jsonargparse"):
        made = next(i for i, a in enumerate(args) if isinstance(a, type))  # a factory of the CLI: (how, Class, ...)
        target, args = args[made], args[made + 1 :]
    try:
        signature = constructor_signature(target) if isinstance(target, type) else inspect.signature(target)
        bound = signature.bind_partial(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
    except (TypeError, ValueError):  # a builtin without a signature
        named = {**{str(i): a for i, a in enumerate(args)}, **kwargs}
    return {"call": _name(target), "with": describe(named)}


def _describe_module(module: torch.nn.Module) -> dict[str, Any]:
    transient = {"training"}
    if type(module).__module__.startswith("kornia."):
        transient |= {"device", "dtype", "input_dtype"}  # noted from the last batch
    public = {k: v for k, v in vars(module).items() if not k.startswith("_") and k not in transient}
    content = {k: tensor_hash(v) for k, v in module.state_dict().items()}
    children = {k: describe(v) for k, v in module.named_children()}
    shown = {k: describe(v) for k, v in public.items() if not callable(v)}
    return {"class": _name(type(module)), "with": shown, "children": children, "state": content}
