"""The name that may be meant by one that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 4
"""Names in one question."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question with the name that is closest, and a space after it; empty if none is close.

    Of a dotted name, the first part alone may be what is wrong. Of a word within names, these are named.

    >>> did_you_mean("epoch", ["epochs", "lr"]), did_you_mean("modle.lr", ["model", "data"])
    ('did you mean epochs? ', 'did you mean model.lr? ')
    >>> did_you_mean("rate", ["class_rate", "poison_rate", "target"])
    'did you mean class_rate or poison_rate? '
    """
    names = sorted(set(known))
    first, dot, rest = name.partition(".")
    near = get_close_matches(name, [n for n in names if ("." in n) == bool(dot)], n=1)
    if not near and dot:
        near = [f"{part}.{rest}" for part in get_close_matches(first, names, n=1)]
    near = near or [n for n in names if name in n.split("_")][:MOST]
    return f"did you mean {' or '.join(near)}? " if near else ""
