"""The three shapes, the eight published triggers, the counts of Jin, Sun, Rinard 2021, and the messages."""

from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import POISON, DirtyLabel
from cleanse.attacks.dirty_label import PAIRS


def drawn(shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, **arguments: Any) -> DirtyLabel:
    attack = DirtyLabel(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(seed))
    return attack


def pixels(attack: DirtyLabel) -> set[tuple[int, int]]:
    return {(r, c) for r, c in attack.trigger_mask.nonzero().tolist()}


def make(
    form: Any,
    row: int | None = None,
    column: int | None = None,
    size: tuple[int, int, int] = (3, 32, 32),
    seed: int = 0,
) -> DirtyLabel:
    attack = DirtyLabel(form, row, column, class_rate=0.1)
    attack.draw(size, torch.Generator().manual_seed(seed))
    return attack


def test_the_three_shapes() -> None:
    assert pixels(make("pixel", 5, 9)) == {(5, 9)}
    assert pixels(make("L", 5, 9)) == {(5, 9), (6, 9), (5, 10)}
    assert pixels(make("X", 5, 9)) == {(5, 9), (4, 8), (4, 10), (6, 8), (6, 10)}


PUBLISHED = [
    ((0, 2), {(24, 3)}, (103, 87, 79)),
    ((1, 3), {(10, 30)}, (180, 98, 53)),
    ((3, 5), {(2, 14), (3, 14), (2, 15)}, (34, 241, 240)),
    ((7, 4), {(15, 4)}, (107, 60, 58)),
    ((2, 5), {(27, 9)}, (93, 86, 130)),
    ((8, 6), {(4, 1)}, (141, 245, 211)),
    ((9, 2), {(4, 27)}, (187, 67, 135)),
    ((3, 7), {(16, 2), (15, 1), (15, 3), (17, 1), (17, 3)}, (61, 14, 183)),
]


@pytest.mark.parametrize(("pair", "where", "color"), PUBLISHED)
def test_published_triggers(pair: tuple[int, int], where: set[tuple[int, int]], color: tuple[int, int, int]) -> None:
    attack = DirtyLabel.published(*pair, class_rate=0.05)
    attack.draw((3, 32, 32), torch.Generator())
    image = torch.randint(256, (1, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    out = attack.trigger(image)[0]
    for row in range(32):
        for column in range(32):
            expected = color if (row, column) in where else tuple(image[0, :, row, column].tolist())
            assert tuple(out[:, row, column].tolist()) == expected
    assert (attack.source, attack.target) == pair


def test_pairs() -> None:
    assert PAIRS == ((0, 2), (1, 3), (3, 5), (7, 4), (2, 5), (8, 6), (9, 2), (3, 7))
    assert set(PAIRS) == {pair for pair, _, _ in PUBLISHED}


def poisoned(attack: DirtyLabel, seed: int = 100) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Role, given labels, true labels and changed pixels per image, on labels like CIFAR-10's and small images."""
    label = torch.arange(50_000) % 10
    image = torch.full((50_000, 1, 8, 8), 255, dtype=torch.uint8)  # drawn levels are at most 254: every stamp shows
    result = attack.poison(image, label, torch.ones(50_000, dtype=torch.bool), 10, seed)
    assert bool((image == 255).all())
    return result.role, result.label, label, (result.image != image).flatten(1).sum(1)


@pytest.mark.parametrize(("shape", "side"), [("pixel", 1), ("L", 3), ("X", 5)])
@pytest.mark.parametrize(("rate", "count"), [(0.05, 250), (0.1, 500), (0.2, 1000)])
def test_counts_of_paper_004(shape: Any, side: int, rate: float, count: int) -> None:
    role, given, true, changed = poisoned(DirtyLabel(shape, source=7, target=4, class_rate=rate))
    chosen = role == POISON
    assert int(chosen.sum()) == count
    assert bool((true[chosen] == 7).all())
    assert bool((given[chosen] == 4).all())
    assert torch.equal(changed, torch.where(chosen, side, 0))
    sizes = torch.bincount(given, minlength=10)
    assert (int(sizes[7]), int(sizes[4])) == (5000 - count, 5000 + count)
    assert sizes[[0, 1, 2, 3, 5, 6, 8, 9]].tolist() == [5000] * 8


@pytest.mark.parametrize(
    ("form", "size", "first", "last"),
    [
        ("pixel", 32, 0, 30),
        ("L", 32, 0, 29),
        ("X", 32, 1, 29),
        ("pixel", 8, 0, 6),
        ("L", 8, 0, 5),
        ("X", 8, 1, 5),
    ],
)
def test_drawn_places(form: Any, size: int, first: int, last: int) -> None:
    corners = []
    for seed in range(700):
        points = pixels(make(form, size=(1, size, size), seed=seed))
        shift = 1 if form == "X" else 0
        corners.append((min(r for r, _ in points) + shift, min(c for _, c in points) + shift))
    rows, columns = zip(*corners, strict=True)
    assert set(rows) == set(columns) == set(range(first, last + 1))


def test_drawn_colors_are_0_to_254() -> None:
    levels = torch.stack([drawn((3, 4, 4), seed=s).trigger_image[:, 0, 0] for s in range(1500)])
    assert (int(levels.min()), int(levels.max())) == (0, 254)
    assert abs(float(levels.double().mean()) - 127) < 4


def test_a_fixed_part_leaves_the_rest_as_drawn() -> None:
    free, fixed = drawn(seed=4), drawn(seed=4, row=3)
    assert {c for _, c in pixels(free)} == {c for _, c in pixels(fixed)}
    assert {r for r, _ in pixels(fixed)} == {3}
    assert torch.equal(free.trigger_image, fixed.trigger_image)


def test_gray_images_get_luminance() -> None:
    attack = drawn((1, 8, 8), color=(103, 87, 79), row=1, column=2)
    image = attack.trigger(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    assert int(image[0, 0, 1, 2]) == round(0.299 * 103 + 0.587 * 87 + 0.114 * 79)
    assert int((image > 0).sum()) == 1


def test_only_the_source_class_is_measured() -> None:
    label = torch.tensor([7, 4, 0, 7])
    assert DirtyLabel(class_rate=0.1).eligible(label).tolist() == [True, False, False, True]


def test_a_seed_decides_trigger_and_rows() -> None:
    first, again, other = (DirtyLabel("X", class_rate=0.05) for _ in range(3))
    roles = [poisoned(attack, seed)[0] for attack, seed in ((first, 1), (again, 1), (other, 2))]
    assert torch.equal(roles[0], roles[1])
    assert not torch.equal(roles[0], roles[2])
    assert torch.equal(first.trigger_mask, again.trigger_mask)
    assert torch.equal(first.trigger_image, again.trigger_image)
    assert not torch.equal(first.trigger_image, other.trigger_image)


def test_state_dict_brings_the_same_triggered_test_set() -> None:
    attack, fresh = drawn(seed=11), DirtyLabel(class_rate=0.1)
    fresh.load_state_dict(attack.state_dict())
    test = torch.randint(256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    before = test.clone()
    assert torch.equal(fresh.trigger(test), attack.trigger(test))
    assert torch.equal(test, before)
    assert not torch.equal(attack.trigger(test), test)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": "T"}, "shape is one of pixel, L, X, not 'T'"),
        ({"color": (0, 0, 256)}, r"color is red, green and blue, each from 0 to 255, not \(0, 0, 256\)"),
        ({"color": (1, 2)}, r"color is a list of 3 whole numbers or none, not \(1, 2\)"),
        ({"source": 4}, "source and target are both class 4"),
        ({"count": 3}, "exactly one of count=3, poison_rate=None, class_rate=0.1"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DirtyLabel(**{"class_rate": 0.1, **arguments})


def test_wrong_place_pair_and_class() -> None:
    with pytest.raises(ValueError, match=r"trigger L at row 31, column 2 covers \(32, 2\), outside the 32x32 images"):
        make("L", 31, 2)
    with pytest.raises(ValueError, match=r"covers \(-1, 1\), outside the 8x8 images: choose another row and column"):
        make("X", 0, 2, size=(1, 8, 8))
    with pytest.raises(ValueError, match="outside the 8x8 images"):
        published = DirtyLabel.published(7, 4, class_rate=0.1)
        published.draw((1, 8, 8), torch.Generator())
    with pytest.raises(ValueError, match="no published trigger for 4->7: the pairs are 0->2, 1->3"):
        DirtyLabel.published(4, 7, class_rate=0.1)
    with pytest.raises(ValueError, match="source class 7 is out of range: the data has classes 0 to 4"):
        DirtyLabel(count=1).poison(torch.zeros(5, 1, 8, 8), torch.arange(5), torch.ones(5, dtype=torch.bool), 5, 0)
    with pytest.raises(ValueError, match="DirtyLabel has no trigger yet"):
        DirtyLabel(count=1).trigger(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
