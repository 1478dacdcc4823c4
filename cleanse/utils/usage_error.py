"""The error for a wrong argument or config."""

from collections.abc import Sequence


class UsageError(ValueError):
    """A wrong argument or config; the message is for the user.

    Attributes:
        keys: the names from the outside in that lead to the offending value; empty if that is not known.
    """

    def __init__(self, message: str, keys: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.keys = tuple(keys)

    @classmethod
    def of_value(cls, keys: Sequence[str], right: str, value: object) -> "UsageError":
        """The error for an argument, named by all its keys, that has another value than the right one."""
        return cls(f"{'.'.join(keys)}: {keys[-1]} is {right}, not {value}", keys)
