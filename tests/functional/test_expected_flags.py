"""How many clean images a check will flag, against the same sum by hand."""

from statistics import median

import pytest
import torch

from cleanse.functional.expected_flags import expected_flags


@pytest.mark.parametrize(
    "classes", [2, 5, 6], ids=["two classes", "an odd number of classes", "an even number of classes"]
)
def test_against_a_loop(classes):
    """Labels 0, 1, 3, 4, ...: no image has label 2, and label 3 has one image alone."""
    generator = torch.Generator().manual_seed(classes)
    names = [0, 1, 3, 4, 5, 6][:classes]
    label = torch.tensor([name for name in names for _ in range(1 if name == 3 else 40 + 7 * name)])
    margin = 2 * torch.rand(len(label), generator=generator) - 1
    margin[:3] = torch.tensor([0.0, 0.6, 0.8])  # at a limit is not above it
    of_class = [[m for m, y in zip(margin.tolist(), label.tolist(), strict=True) if y == name] for name in names]

    def usual(limit):
        return median(sum(m > limit for m in margins) / len(margins) for margins in of_class)

    limits = torch.tensor([0.6, 0.8]).tolist()  # as float32 has them
    none, named, inside = expected_flags(margin, label, *limits)
    assert none == pytest.approx(usual(limits[0]))
    assert named == pytest.approx(usual(limits[1]) * (classes - 1) / classes + usual(0.0) / classes)
    assert inside == pytest.approx(usual(0.0))


def test_the_defaults_are_the_limits_of_the_check():
    margin, label = torch.tensor([0.59, 0.61, 0.79, 0.81]), torch.zeros(4, dtype=torch.int64)
    assert expected_flags(margin, label) == expected_flags(margin, label, 0.6, 0.8)
    assert expected_flags(margin, label)[0] == 0.75
    assert expected_flags(torch.cat([margin, -margin]), torch.arange(8) // 4, 0.0, 0.8) == (0.5, 0.3125, 0.5)


@pytest.mark.parametrize(
    ("margin", "label"),
    [((0,), (0,)), ((3,), (2,)), ((2, 2), (2, 2))],
    ids=["no images", "a margin too many", "a table"],
)
def test_other_shapes_are_refused(margin, label):
    with pytest.raises(ValueError, match=r"margin and label are both \(n,\)"):
        expected_flags(torch.zeros(margin), torch.zeros(label, dtype=torch.int64))
