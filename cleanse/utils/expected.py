"""What to give instead of a value of a wrong type, in words."""

from collections.abc import Sequence

KINDS = {
    "int": ("a whole number",),
    "float": ("a number",),
    "bool": ("true (yes)", "false (no)"),
    "str": ("text",),
    **dict.fromkeys(("list", "tuple", "set", "Sequence", "Iterable", "Collection"), ("a list, such as [a, b]",)),
    **dict.fromkeys(("dict", "Mapping"), ("names with values, such as {a: 1}",)),
}


def expected(kinds: Sequence[str], value: str) -> str:
    """The words for some types, of which a value is none.

    Args:
        kinds: names of types, such as ``int``; anything else, such as one of some choices, stands for itself.
        value: what was given, as text.

    >>> expected(["int"], "x"), expected(["bool", "int", "float"], "x")
    ("give a whole number, not 'x'", "give a number, true (yes) or false (no), not 'x'")
    >>> expected(["list"], "[1, 'b']"), expected(["knn", "energy", "none"], "x")
    ("give a list, such as [a, b], not [1, 'b']", "give knn, energy or none, not 'x'")
    """
    wanted = [kind for kind in kinds if kind != "int" or "float" not in kinds]  # a whole number is a number
    wanted.sort(key=lambda kind: kind == "bool")  # the likeliest first
    words = list(dict.fromkeys(word for kind in wanted for word in KINDS.get(kind, (kind,))))
    several = ", ".join(words[:-1]) + " or " if len(words) > 1 else ""
    return f"give {several}{words[-1]}, not {value if value[:1] in ('[', '{') else repr(value)}"
