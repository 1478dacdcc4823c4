"""The low-frequency pattern: which waves it has, how high it is, that it is drawn once, and its messages."""

from typing import Any

import pytest
import torch
from scipy.fft import dctn

from cleanse.attacks import POISON, LowFrequency


def drawn(shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, **arguments: Any) -> LowFrequency:
    attack = LowFrequency(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(seed))
    return attack


@pytest.mark.parametrize(("size", "kept", "expected"), [(32, None, 4), (8, None, 2), (32, 6, 6)])
def test_only_the_slowest_waves_are_there(size: int, kept: int | None, expected: int) -> None:
    for channel in drawn((3, size, size), kept=kept).added.double():
        found = torch.from_numpy(dctn(channel.numpy(), norm="ortho")).abs()
        fast = found.clone()
        fast[:expected, :expected] = 0
        assert fast.max() < 2.5  # what rounding to levels leaves
        assert found[expected - 1, :expected].max() > 2.5
        assert found[:expected, expected - 1].max() > 2.5


@pytest.mark.parametrize(("amplitude", "levels"), [(0.2, 51), (0.1, 26), (1.0, 255)])
def test_every_channel_goes_from_nothing_to_the_amplitude(amplitude: float, levels: int) -> None:
    added = drawn(amplitude=amplitude).added.flatten(1)
    assert added.amin(1).tolist() == [0, 0, 0]
    assert added.amax(1).tolist() == [levels] * 3


def test_it_is_added_and_stops_at_white() -> None:
    attack = drawn((1, 8, 8))
    image = torch.full((2, 1, 8, 8), 230, dtype=torch.uint8)
    assert torch.equal(attack.trigger(image).int(), (230 + attack.added.int()).clamp(max=255).expand(2, 1, 8, 8))


def test_a_seed_decides_the_pattern() -> None:
    assert torch.equal(drawn(seed=1).added, drawn(seed=1).added)
    assert not torch.equal(drawn(seed=1).added, drawn(seed=2).added)


def test_poisoned_images_get_the_targets_label() -> None:
    label = torch.arange(200) % 10
    attack = LowFrequency(class_rate=0.1, target=3)
    result = attack.poison(
        torch.zeros(200, 1, 8, 8, dtype=torch.uint8), label, torch.ones(200, dtype=torch.bool), 10, 0
    )
    assert set(result.label[result.role == POISON].tolist()) == {3}
    assert int((result.role == POISON).sum()) == 18


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amplitude": 0}, "amplitude is a fraction of white"),
        ({"amplitude": 51}, "amplitude is a fraction of white"),
        ({"kept": 1}, "kept is a number of waves a side, at least 2, not 1"),
    ],
)
def test_refuses_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LowFrequency(count=1, **arguments)


def test_refuses_more_waves_than_pixels() -> None:
    with pytest.raises(ValueError, match="kept=9 waves are more than images of 8x8 pixels have"):
        drawn((1, 8, 8), kept=9)
