"""CTRL: its waves in the transform of U and V, whose images it changes, and its messages."""

import pytest
import torch
from scipy.fft import dctn

from cleanse.attacks import CTRL, POISON


def drawn(channels: int, size: int, **arguments: float) -> CTRL:
    attack = CTRL(class_rate=0.5, target=1, **arguments)
    attack.draw((channels, size, size), torch.Generator())
    return attack


def test_both_coefficients_of_u_and_v_rise_by_100_and_nothing_else() -> None:
    """U = 0.492 (B - Y) and V = 0.877 (R - Y), Y = 0.299 R + 0.587 G + 0.114 B; up to what rounding to levels does."""
    red, green, blue = drawn(3, 32).added.double()
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = torch.zeros(32, 32, dtype=torch.float64)
    expected[15, 15] = expected[31, 31] = 100
    for channel, tolerance in ((0.492 * (blue - luminance), 3), (0.877 * (red - luminance), 3)):
        torch.testing.assert_close(
            torch.from_numpy(dctn(channel.numpy(), norm="ortho")), expected, atol=tolerance, rtol=0
        )
    assert luminance.abs().max() < 1


@pytest.mark.parametrize(("size", "middle"), [(32, 15), (8, 3), (64, 31)])
def test_at_every_size_the_waves_are_as_high(size: int, middle: int) -> None:
    added = drawn(1, size).added[0].double()
    found = torch.from_numpy(dctn(added.numpy(), norm="ortho"))
    largest = found.abs().flatten().topk(2).indices.tolist()
    assert sorted(largest) == [middle * size + middle, size**2 - 1]
    assert added.abs().max() == pytest.approx(11, abs=2)


def test_it_is_rounded_and_clipped() -> None:
    attack = drawn(1, 8)
    for level in (0, 255):
        out = attack.trigger(torch.full((1, 1, 8, 8), level, dtype=torch.uint8))[0, 0].int()
        assert torch.equal(out, (level + attack.added[0].int()).clamp(0, 255))


def test_images_of_the_target_class_keep_their_label() -> None:
    label = torch.arange(200) % 10
    attack = CTRL(class_rate=0.5, target=1)
    result = attack.poison(
        torch.zeros(200, 3, 8, 8, dtype=torch.uint8), label, torch.ones(200, dtype=torch.bool), 10, 0
    )
    assert torch.equal(result.label, label)
    assert set(label[result.role == POISON].tolist()) == {1}
    assert int((result.role == POISON).sum()) == 10
    assert not attack.measured(label)[label == 1].any()


def test_the_magnitude_counts() -> None:
    assert drawn(1, 32, magnitude=50).added.abs().max() == pytest.approx(6, abs=1)


@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 1, 8)])
def test_refuses_other_images(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="1 channel or 3 and of 2x2 pixels or more"):
        CTRL(count=1).draw(shape, torch.Generator())


def test_refuses_no_magnitude() -> None:
    with pytest.raises(ValueError, match="magnitude is a number of levels above 0, not 0"):
        CTRL(count=1, magnitude=0)


def test_refuses_images_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"drawn for images of \(1, 8, 8\)"):
        drawn(1, 8).trigger(torch.zeros(1, 1, 9, 8, dtype=torch.uint8))
