"""Checks of arguments that many constructors share."""


def at_least_one(**arguments: int | None) -> None:
    """Refuse numbers of epochs, rounds, images and such that are below one; None is not looked at.

    Raises:
        ValueError: names the first argument that is too small.

    >>> at_least_one(epochs=3, voter_epochs=None)
    >>> at_least_one(epochs=0)
    Traceback (most recent call last):
    ValueError: epochs is at least 1, not 0
    """
    for name, value in arguments.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is at least 1, not {value}")
