"""The stripes against a loop over pixels, a clean label in every count, and the messages."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import CLEAN, POISON, SIG

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)]
LABELS = torch.arange(1000) % 10
ALL = torch.ones(1000, dtype=torch.bool)


def drawn(shape: tuple[int, int, int] = (3, 32, 32), **arguments: Any) -> SIG:
    attack = SIG(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator())
    return attack


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("delta", "frequency"), [(40, 6), (30, 6), (20, 2.5), (255, 1)])
def test_the_stripes_are_a_loop_over_pixels(shape: tuple[int, int, int], delta: int, frequency: float) -> None:
    attack, image = drawn(shape, amplitude=delta / 255, frequency=frequency), random_images(2, shape)
    before, out = image.clone(), attack.trigger(image)
    assert torch.equal(image, before)
    assert out.dtype == torch.uint8
    _, height, width = shape
    for row in range(height):
        for column in range(width):
            wave = delta * math.sin(2 * math.pi * column * frequency / width)
            exact = (before[:, :, row, column].double() + wave).clamp(0, 255)
            assert float((out[:, :, row, column].double() - exact).abs().max()) <= 0.5 + 1e-6


def test_stripes_of_the_default_on_cifar() -> None:
    wave = drawn().added
    assert wave.shape == (32, 32)
    assert bool((wave == wave[:1]).all())  # vertical: all rows alike
    assert (int(wave.min()), int(wave.max()), int(wave[0, 0])) == (-40, 40, 0)
    falls = (wave[0, :-1] > 0) & (wave[0, 1:] <= 0)
    assert int(falls.sum()) == 6  # as many waves as the frequency says


def test_levels_stop_at_black_and_white() -> None:
    ends = torch.stack((torch.zeros(3, 32, 32), torch.full((3, 32, 32), 255.0))).to(torch.uint8)
    black, white = drawn().trigger(ends)
    assert (int(black.min()), int(black.max())) == (0, 40)
    assert (int(white.min()), int(white.max())) == (215, 255)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({"class_rate": 0.25}, 25), ({"poison_rate": 0.02}, 20), ({"count": 100}, 100), ({"class_rate": 1.0}, 100)],
)
def test_a_clean_label(arguments: dict[str, Any], expected: int) -> None:
    image = torch.full((1000, 1, 8, 8), 77, dtype=torch.uint8)
    attack = SIG(target=4, **arguments)
    result = attack.poison(image, LABELS, ALL, 10, seed=3)
    poison = result.role == POISON
    assert int(poison.sum()) == expected
    assert bool((LABELS[poison] == 4).all())
    assert torch.equal(result.label, LABELS)
    assert torch.equal(result.true_label, LABELS)
    assert torch.equal((result.image != 77).flatten(1).any(1), poison)
    assert torch.equal(result.image[poison], attack.trigger(image[poison]))
    assert bool((result.role[~poison] == CLEAN).all())
    assert bool((image == 77).all())
    assert attack.counts(result) == {"poisoned": expected, "eligible": 100, "all": 1000, "cover": 0}
    assert "(class 4, labels kept -> 4)" in attack.describe_counts(result)


def test_the_test_images_are_of_other_classes() -> None:
    assert torch.equal(SIG(count=1, target=4).measured(LABELS), LABELS != 4)
    one = SIG(count=1, target=4, source=6)
    assert torch.equal(one.measured(LABELS), LABELS == 6)
    assert torch.equal(one.eligible(LABELS), LABELS == 4)


def test_withheld_labels_stay_withheld() -> None:
    given = torch.arange(1000) % 20 < 10
    result = SIG(class_rate=0.1, unlabeled_rate=0.2).poison(random_images(1000, (1, 8, 8)), LABELS, given, 10, seed=0)
    poison = result.role == POISON
    assert (int((poison & given).sum()), int((poison & ~given).sum())) == (5, 10)
    assert torch.equal(result.label, torch.where(given, LABELS, -1))


def test_a_seed_decides_everything() -> None:
    image = random_images(1000, (1, 8, 8))
    first, again, other = (SIG(class_rate=0.5).poison(image, LABELS, ALL, 10, seed) for seed in (1, 1, 2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.role, again.role)
    assert not torch.equal(first.role, other.role)


def test_state_dict_brings_the_same_triggered_test_set(tmp_path: Path) -> None:
    attack, fresh = drawn(amplitude=0.3), SIG(class_rate=0.1)
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = random_images(5, (3, 32, 32))
    assert torch.equal(fresh.trigger(test), attack.trigger(test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amplitude": 0.0}, "amplitude is a fraction of white, above 0 and at most 1, not 0.0: 40/255"),
        ({"amplitude": 40.0}, "above 0 and at most 1, not 40.0"),
        ({"frequency": 0.0}, "frequency is a number of waves above 0, not 0.0"),
        ({"frequency": math.inf}, "frequency is a finite number, not inf"),
        ({"frequency": math.nan}, "frequency is a finite number, not nan"),
        ({"count": 3}, "SIG takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SIG(**{"class_rate": 0.1, **arguments})


def test_wrong_for_this_data() -> None:
    with pytest.raises(
        ValueError, match=r"images that are 12 pixels wide, as the wave is 0 at every column: set anoth"
    ):
        drawn((1, 8, 12))
    with pytest.raises(ValueError, match=r"poison_rate=0.2 asks for 200 poisoned labeled images, but only 100 are"):
        SIG(poison_rate=0.2).poison(random_images(1000, (1, 8, 8)), LABELS, ALL, 10, 0)
    with pytest.raises(ValueError, match=r"drawn for images of \(32, 32\) \(height, width\), not of \(28, 28\)"):
        drawn().trigger(random_images(1, (3, 28, 28)))
    with pytest.raises(ValueError, match="SIG has no trigger yet"):
        SIG(count=1).trigger(random_images(1, (1, 8, 8)))
