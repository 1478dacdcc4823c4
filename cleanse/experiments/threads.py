"""How many CPU threads a run uses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cleanse.data.base import ImageDataModule

TINY = 16
"""Pixels a side up to which the kernels are too small to share: threads would wait for one another."""


@contextmanager
def same_threads_after() -> Iterator[None]:
    """Leave the number of threads as it was; a caller from Python has other things to do."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_threads(asked: int | None, data: ImageDataModule) -> None:
    """As many threads as asked; without a wish, one where images are tiny, and torch's own number otherwise."""
    if asked is None and max(data.image_shape()[1:]) > TINY:
        return
    torch.set_num_threads(asked or 1)
