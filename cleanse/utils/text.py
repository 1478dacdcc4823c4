"""Texts from data and strangers' files, made safe to show on a terminal or a page."""


def readable(text: str, most: int | None = None) -> str:
    r"""A text in which nothing is invisible or unprintable: such characters are written as Python writes them.

    Among them are control characters, with which a file name could steer a terminal, and the marks that turn the
    direction of writing, with which it could look like another.

    Args:
        text: a file name, a class name, a reason; bytes that are no UTF-8 as surrogates.
        most: longer ones are cut, with an ellipsis.

    >>> readable("a\nb\udcff\u202e")
    'a\\nb\\xff\\u202e'
    """
    shown = "".join(c if c.isprintable() else _written(c) for c in text)
    return shown if most is None or len(shown) <= most else shown[: most - 1] + "\u2026"


def _written(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]
