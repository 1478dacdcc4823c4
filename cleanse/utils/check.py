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


LARGEST_SIDE = 8192
"""Pixels: an image of that size takes 200 MB."""


def side_of_images(size: int | None) -> None:
    """Refuse sizes that no image can be scaled to; None is not looked at.

    Raises:
        ValueError: below one pixel, or beyond all memory.
    """
    if size is not None and not 1 <= size <= LARGEST_SIDE:
        raise ValueError(f"size is the side of the images in pixels, at least 1 and at most {LARGEST_SIDE}, not {size}")
