"""The chessboard pixel by pixel, clipping, rounding, and the messages."""

from typing import Any

import pytest
import torch

from cleanse.attacks import POISON, Additive

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 5, 7)]


def drawn(shape: tuple[int, int, int] = (3, 32, 32), **arguments: Any) -> Additive:
    attack = Additive(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(0))
    return attack


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_a_chessboard_of_three_levels(shape: tuple[int, int, int]) -> None:
    image = torch.randint(256, (4, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    before, out = image.clone(), drawn(shape).trigger(image)
    assert out.dtype == torch.uint8
    assert torch.equal(image, before)
    for row in range(shape[1]):
        for column in range(shape[2]):
            added = 3 if (row + column) % 2 == 0 else 0
            expected = (before[:, :, row, column].int() + added).clamp(max=255)
            assert torch.equal(out[:, :, row, column].int(), expected)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape[1] % 2 == 0])
def test_exactly_half_of_the_pixels_change_and_only_upwards(shape: tuple[int, int, int]) -> None:
    change = drawn(shape).trigger(torch.full((1, *shape), 77, dtype=torch.uint8)).int() - 77
    assert change.unique().tolist() == [0, 3]
    assert int((change > 0).sum()) * 2 == change.numel()
    assert float(change.max()) / 255 == 3 / 255


def test_white_stays_white() -> None:
    for level in (252, 253, 254, 255):
        out = drawn((1, 8, 8)).trigger(torch.full((1, 1, 8, 8), level, dtype=torch.uint8))
        assert out.unique().tolist() == sorted({level, 255})


@pytest.mark.parametrize(
    ("amplitude", "levels"), [(3 / 255, 3), (0.0117647, 3), (0.01, 3), (1.0, 255), (0.5 / 255 + 1e-6, 1)]
)
def test_amplitudes_are_rounded_to_levels(amplitude: float, levels: int) -> None:
    out = drawn((1, 2, 2), amplitude=amplitude).trigger(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))
    assert out.flatten().tolist() == [levels, 0, 0, levels]


def test_poisoning() -> None:
    label = torch.arange(1000) % 10
    image = torch.full((1000, 1, 8, 8), 77, dtype=torch.uint8)
    attack = Additive(target=2, class_rate=0.1)
    result = attack.poison(image, label, torch.ones(1000, dtype=torch.bool), 10, seed=5)
    chosen = result.role == POISON
    assert int(chosen.sum()) == 90
    assert bool((result.label[chosen] == 2).all())
    assert torch.equal((result.image != 77).flatten(1).sum(1), torch.where(chosen, 32, 0))
    assert torch.equal(result.image[chosen], attack.trigger(image[chosen]))
    assert bool((image == 77).all())
    again = Additive(target=2, class_rate=0.1).poison(image, label, torch.ones(1000, dtype=torch.bool), 10, seed=5)
    assert torch.equal(again.image, result.image)


def test_state_dict_brings_the_same_triggered_test_set() -> None:
    attack, fresh = drawn(amplitude=8 / 255), Additive(class_rate=0.1)
    fresh.load_state_dict(attack.state_dict())
    test = torch.randint(256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    assert torch.equal(fresh.trigger(test), attack.trigger(test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amplitude": 3.0}, "amplitude is a fraction of white, above 0 and at most 1, not 3.0"),
        ({"amplitude": 0.0}, "above 0 and at most 1, not 0.0"),
        ({"amplitude": 0.001}, "amplitude 0.001 is less than half of one level of 255"),
        ({"class_rate": None}, "Additive takes exactly one of"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Additive(**{"class_rate": 0.1, **arguments})


def test_wrong_images() -> None:
    with pytest.raises(ValueError, match=r"drawn for images of \(32, 32\) \(height, width\), not of \(28, 28\)"):
        drawn().trigger(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))
    with pytest.raises(ValueError, match="Additive has no trigger yet"):
        Additive(count=1).trigger(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
