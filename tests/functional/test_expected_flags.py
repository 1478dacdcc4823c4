"""How many clean images a check will flag, against the same sum by hand."""

import pytest
import torch

from cleanse.functional.expected_flags import expected_flags


@pytest.mark.parametrize("named", [(), (3,), (0, 4)])
@pytest.mark.parametrize("classes", [1, 2, 5, 6])
def test_against_a_loop(classes: int, named: tuple[int, ...]) -> None:
    """Labels 0, 1, 3, 4, ...: no image has label 2, and label 3 has one image alone."""
    generator = torch.Generator().manual_seed(classes)
    names = [0, 1, 3, 4, 5, 6][:classes]
    label = torch.tensor([name for name in names for _ in range(1 if name == 3 else 40 + 7 * name)])
    margin = 2 * torch.rand(len(label), generator=generator) - 1
    margin[:3] = torch.tensor([0.0, 0.6, 0.8])  # at a limit is not above it
    of_class = {name: margin[label == name].tolist() for name in names}
    named = tuple(name for name in named if name in names)

    def usual(limit: float) -> float:
        above = {name: sum(m > limit for m in margins) for name, margins in of_class.items()}
        apart = named or (max(names, key=lambda name: above[name] / len(of_class[name])),) * (classes > 1)
        rest = [name for name in names if name not in apart]
        return sum(above[name] for name in rest) / max(1, sum(len(of_class[name]) for name in rest))

    limits = torch.tensor([0.6, 0.8]).tolist()  # as float32 has them
    sign = torch.zeros(8).long().index_fill(0, torch.tensor(named, dtype=torch.int64), 3)
    none, if_named, inside = expected_flags(margin, label, *limits, sign)
    assert none == pytest.approx(usual(limits[0]))
    assert if_named == pytest.approx(usual(limits[1]) * (classes - 1) / classes + usual(0.0) / classes)
    assert inside == pytest.approx(usual(0.0))
    if not named:
        assert expected_flags(margin, label, *limits) == (none, if_named, inside)


def test_the_defaults_are_the_limits_of_the_check():
    margin, label = torch.tensor([0.59, 0.61, 0.79, 0.81]), torch.zeros(4, dtype=torch.int64)
    assert expected_flags(margin, label) == expected_flags(margin, label, 0.6, 0.8)
    assert expected_flags(margin, label)[0] == 0.75
    two = torch.cat([margin, margin - 0.2]), torch.arange(8) // 4
    assert expected_flags(*two) == (0.25, 0.5, 1.0)


def test_confusions_of_a_few_classes_are_expected_too() -> None:
    """Of many classes with some look-alikes, most have no image that is flagged (letters O and numerals 0)."""
    label = torch.arange(4300) // 100
    margin = torch.full((4300,), -1.0)
    margin[torch.arange(4300) % 100 < 20] = torch.where(label < 8, 0.7, -1.0)[torch.arange(4300) % 100 < 20]
    assert expected_flags(margin, label).unnamed == pytest.approx(7 * 20 / 4200)


def test_poison_of_one_class_is_not_expected_of_clean_images() -> None:
    label, margin = torch.arange(1000) // 100, torch.full((1000,), -1.0)
    margin[:60] = 0.9
    margin[[150, 250]] = 0.9
    assert expected_flags(margin, label).unnamed == pytest.approx(2 / 900)


@pytest.mark.parametrize(
    ("margin", "label"),
    [((0,), (0,)), ((3,), (2,)), ((2, 2), (2, 2))],
    ids=["no images", "a margin too many", "a table"],
)
def test_other_shapes_are_refused(margin, label):
    with pytest.raises(ValueError, match=r"margin and label are both \(n,\)"):
        expected_flags(torch.zeros(margin), torch.zeros(label, dtype=torch.int64))
