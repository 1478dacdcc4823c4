"""Tiny images take one thread, photographs all of them, and a caller from Python gets his number back."""

from collections.abc import Iterator

import pytest
import torch

from cleanse.data import Digits
from cleanse.experiments.threads import same_threads_after, set_threads


class Larger(Digits):
    def image_shape(self) -> tuple[int, ...]:
        return (3, 32, 32)


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    with same_threads_after():
        torch.set_num_threads(3)
        yield


@pytest.mark.parametrize(
    ("kind", "asked", "threads"),
    [(Digits, None, 1), (Digits, 2, 2), (Larger, None, 3), (Larger, 2, 2)],
    ids=["digits", "digits, asked", "larger", "larger, asked"],
)
def test_the_size_of_the_images_decides_unless_asked(kind: type[Digits], asked: int | None, threads: int) -> None:
    set_threads(asked, kind())
    assert torch.get_num_threads() == threads


def test_the_number_is_as_before_afterwards() -> None:
    with same_threads_after():
        torch.set_num_threads(1)
    assert torch.get_num_threads() == 3
