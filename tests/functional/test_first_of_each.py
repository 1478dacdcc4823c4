"""Copies of an image under one label count once."""

import pytest
import torch

from cleanse.functional.first_of_each import first_of_each


def test_copies_under_another_label_are_of_another_kind():
    group, label = torch.tensor([4, 9, 4, 4, 9, 2]), torch.tensor([1, 1, 0, 1, 1, 1])
    rows, back = first_of_each(group, label)
    assert rows.tolist() == [0, 1, 2, 5]
    assert back.tolist() == [0, 1, 2, 0, 1, 3]


def test_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    group, label = torch.randint(40, (200,), generator=generator), torch.randint(3, (200,), generator=generator)
    seen: dict[tuple[int, int], int] = {}
    first = [seen.setdefault(kind, row) for row, kind in enumerate(zip(group.tolist(), label.tolist(), strict=True))]
    rows, back = first_of_each(group, label)
    assert rows.tolist() == sorted(set(first))
    assert rows[back].tolist() == first


def test_no_images_and_no_copies():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert first_of_each(nothing, nothing).rows.tolist() == []
    assert first_of_each(torch.arange(5), torch.zeros(5, dtype=torch.int64)).rows.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("label", [torch.zeros(3), torch.zeros(2, 2)], ids=["longer", "a table"])
def test_other_shapes_are_refused(label):
    with pytest.raises(ValueError, match=r"group and label are both \(n,\)"):
        first_of_each(torch.zeros(2), label)
    with pytest.raises(ValueError, match=r"group and label are both \(n,\)"):
        first_of_each(torch.zeros(2, 2), torch.zeros(2, 2))
