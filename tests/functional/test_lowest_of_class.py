"""The lowest of each class."""

import pytest
import torch

from cleanse.functional import lowest_of_class


def test_the_lowest_of_each_class_and_none_without_a_label() -> None:
    value = torch.tensor([5.0, 1.0, 3.0, 0.0, 2.0, 9.0])
    label = torch.tensor([0, 0, 0, -1, 1, 1])
    assert lowest_of_class(value, label, 2).tolist() == [False, True, True, False, True, True]


def test_of_equal_ones_the_first() -> None:
    assert lowest_of_class(torch.zeros(5), torch.zeros(5, dtype=torch.int64), 2).nonzero().flatten().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "count", "message"),
    [
        (torch.zeros(3), 1, r"value and label are \(n,\)"),
        (torch.tensor([0.0, float("nan")]), 1, "1 of 2 are not a number"),
        (torch.zeros(2), -1, "count is a number of rows"),
    ],
    ids=["rows", "nan", "count"],
)
def test_what_cannot_be_ranked_is_refused(value: torch.Tensor, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lowest_of_class(value, torch.zeros(2, dtype=torch.int64), count)


def test_of_many_equal_ones_the_first() -> None:
    value, label = torch.zeros(2000), torch.arange(2000) % 2
    chosen = lowest_of_class(value, label, 300)
    assert chosen.dtype == torch.bool
    assert chosen.nonzero().flatten().tolist() == list(range(600))


def test_none_of_each_class_is_none() -> None:
    assert not lowest_of_class(torch.zeros(5), torch.zeros(5, dtype=torch.int64), 0).any()
