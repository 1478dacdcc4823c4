"""Labels and names of classes as people have them: lists, arrays, series and tensors, of numbers or names."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

_MISSING = frozenset(("NAType", "NaTType", "MaskedConstant"))
"""Types of what pandas and NumPy have where a value is missing."""


def plain_labels(labels: Any) -> list[Any]:
    """Labels as plain Python values: whole numbers, names, and None where there is none (D360).

    Booleans become the names ``True`` and ``False``, and beside names a number that is not whole becomes one, too.

    Args:
        labels: one for each image, as a list, array, series or tensor of any type; a column (n, 1) will do.

    Raises:
        ValueError: anything else, such as a mapping, a row of numbers for each image, one long text, or fractions,
            which are no classes where all labels are numbers (D362).

    >>> import numpy as np
    >>> plain_labels(np.array([[1.0], [np.nan], [3.0]])), plain_labels(["cat", "", None, b"dog", 0.5])
    ([1, None, 3], ['cat', None, None, 'dog', '0.5'])
    """
    if hasattr(labels, "detach"):  # a tensor, also of a type that NumPy does not have
        labels = labels.detach().cpu()
        if labels.dtype.is_floating_point:
            labels = labels.double()
    if isinstance(labels, (str, bytes, Mapping, Set)) or not hasattr(labels, "__iter__"):
        raise ValueError(f"labels are (n,), a number or a name for each image, not {type(labels).__name__}")
    shape = tuple(getattr(labels, "shape", ()))
    if len(shape) == 2 and shape[1] == 1 and hasattr(labels, "reshape"):
        labels = labels.reshape(-1)
    elif len(shape) > 1:
        raise ValueError(f"labels are (n,), one for each row, not {shape}")
    values = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    if not isinstance(values, list):
        raise ValueError(f"labels are (n,), one for each row, not {shape}")
    plain = [plain_label(value) for value in values]
    fraction = next((value for value in plain if isinstance(value, float)), None)
    if fraction is not None and not any(isinstance(value, str) for value in plain):
        raise ValueError(
            f"labels are whole numbers or names, but {fraction} is a fraction, as the targets of a regression are: give"
            " each image the number or the name of its class"
        )
    return [str(value) if isinstance(value, float) else value for value in plain]


def plain_label(value: Any) -> int | float | str | None:
    """One label as a whole number, a float that is not whole, a name, or None where there is none.

    Raises:
        ValueError: several numbers, or a mapping.
    """
    if hasattr(value, "item") and type(value).__name__ != "MaskedConstant":  # of torch or NumPy
        if getattr(value, "ndim", 0) and tuple(value.shape) != (1,):
            raise ValueError(f"a label is one number or name, not an array of shape {tuple(value.shape)}")
        value = value.item()
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    if isinstance(value, (list, tuple, Mapping, Set)):
        raise ValueError(f"a label is one number or name, not {str(value)[:60]}")
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, (bool, str, bytes)):
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value) or None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if value != value:
            return None
        return int(value) if value.is_integer() else value
    return str(value)


def class_names(classes: Any) -> tuple[str, ...]:
    """Names of classes, in label order, checked.

    Raises:
        ValueError: no list of names, or a name twice.

    >>> class_names(["cat", "dog"])
    ('cat', 'dog')
    """
    if isinstance(classes, (str, bytes, Mapping, Set)) or not hasattr(classes, "__iter__"):
        raise ValueError(f"classes are a list of names in label order, not {type(classes).__name__}")
    names = tuple(map(str, classes))
    if twice := _first_twice(names):
        raise ValueError(f"classes: {twice!r} is there twice: give every class its own name")
    return names


def _first_twice(names: Sequence[str]) -> str | None:
    seen = set[str]()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
