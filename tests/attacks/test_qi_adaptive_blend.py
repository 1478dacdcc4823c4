"""The mixture against a loop over pieces, training pieces and the whole test picture, covers, and the messages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import CLEAN, COVER, POISON, Blend, QiAdaptiveBlend
from cleanse.attacks.qi_adaptive_blend import pieces
from cleanse.engine.fingerprint import describe

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)]
LABELS = torch.arange(1000) % 10
ALL = torch.ones(1000, dtype=torch.bool)


def drawn(shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, **arguments: Any) -> QiAdaptiveBlend:
    attack = QiAdaptiveBlend(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(seed))
    return attack


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def original(image: Tensor, picture: Tensor, alpha: float, kept: Tensor) -> Tensor:
    """The published formula with a loop over the pieces of a square image; levels, not rounded."""
    side, grid = image.shape[1], len(kept)
    mask = torch.zeros(side, side, dtype=torch.float64)
    step = side // grid
    for x in range(grid):
        for y in range(grid):
            if kept[x, y]:
                mask[x * step : (x + 1) * step, y * step : (y + 1) * step] = 1
    return image.double() + alpha * mask * (picture.double() - image.double())


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32)])
@pytest.mark.parametrize(("alpha", "kept"), [(0.2, 8), (0.15, 8), (0.7, 3), (1.0, 16)])
def test_training_images_are_the_original_s(shape: tuple[int, int, int], alpha: float, kept: int) -> None:
    attack, image = drawn(shape, alpha=alpha, kept=kept), random_images(20, shape)
    before, out = image.clone(), attack.poison_image(image, torch.Generator().manual_seed(3))
    assert torch.equal(image, before)
    assert out.dtype == torch.uint8
    step = shape[1] // 4
    for one, mixed in zip(image, out, strict=True):
        changed = (one != mixed).any(0).unflatten(0, (4, step)).unflatten(2, (4, step)).any(3).any(1)
        if alpha >= 0.7:  # a fainter piece of a few pixels may leave all levels as they are
            assert int(changed.sum()) == kept
        shown = changed.clone()
        exact = original(one, attack.trigger_image, alpha, shown)
        assert float((mixed.double() - exact).abs().max()) <= 0.5 + 1e-4


def test_exactly_eight_pieces_show() -> None:
    attack = drawn((1, 8, 8), alpha=1.0)
    attack.trigger_image.fill_(255)
    out = attack.poison_image(torch.zeros(1200, 1, 8, 8, dtype=torch.uint8), torch.Generator().manual_seed(0))
    shown = out[:, 0, ::2, ::2] == 255
    assert torch.equal(out[:, 0] == 255, pieces(shown, 8, 8))
    assert bool((shown.flatten(1).sum(1) == 8).all())
    each = shown.flatten(1).sum(0)  # 1200 * 8 / 16 = 600, sd 17
    assert int(each.min()) > 530
    assert int(each.max()) < 670
    together = shown.flatten(1).double().T @ shown.flatten(1).double() / 1200  # 8 * 7 / (16 * 15) = 0.233 off-diagonal
    off = together[~torch.eye(16, dtype=torch.bool)]
    assert abs(float(off.mean()) - 7 / 30) < 1e-9
    assert float((off - 7 / 30).abs().max()) < 0.06


@pytest.mark.parametrize(("height", "width", "grid"), [(8, 8, 4), (9, 13, 4), (5, 5, 5), (7, 30, 3), (3, 3, 1)])
def test_pieces_are_a_loop_over_pixels(height: int, width: int, grid: int) -> None:
    kept = torch.rand(6, grid, grid, generator=torch.Generator().manual_seed(0)) < 0.5
    out = pieces(kept, height, width)
    for row in range(height):
        for column in range(width):
            assert torch.equal(out[:, row, column], kept[:, row * grid // height, column * grid // width])
    numbered = torch.eye(grid**2, dtype=torch.bool).view(-1, grid, grid)
    assert bool(pieces(numbered, height, width).flatten(1).any(1).all())  # no piece is empty


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pattern", ["drawn", "noise"])
def test_test_images_show_the_whole_picture(shape: tuple[int, int, int], pattern: Any) -> None:
    """The same as the published blend of the whole image at the test opacity, whatever the training opacity."""
    attack, image = drawn(shape, alpha=0.15, test_alpha=0.3, pattern=pattern, seed=4), random_images(5, shape)
    blend = Blend("whole", pattern, alpha=0.3, count=0)
    blend.draw(shape, torch.Generator().manual_seed(4))
    before, out = image.clone(), attack.trigger(image)
    assert torch.equal(image, before)
    assert torch.equal(out, blend.trigger(image))


def test_poison_and_covers() -> None:
    image = torch.full((1000, 1, 8, 8), 77, dtype=torch.uint8)
    attack = QiAdaptiveBlend(poison_rate=0.1, cover_rate=0.2, alpha=0.5, target=3)
    result = attack.poison(image, LABELS, ALL, 10, seed=5)
    poison, cover, clean = (result.role == role for role in (POISON, COVER, CLEAN))
    assert (int(poison.sum()), int(cover.sum()), int(clean.sum())) == (100, 200, 700)
    assert torch.equal((result.image != 77).flatten(1).any(1), ~clean)
    assert bool((image == 77).all())
    assert torch.equal(result.label[~poison], LABELS[~poison])
    assert bool((result.label[poison] == 3).all())
    assert bool((LABELS[cover] == 3).any())
    assert not bool((LABELS[poison] == 3).any())
    for kind in (poison, cover):  # another choice of pieces in each image, and never the test image's
        assert len(result.image[kind].unique(dim=0)) > 0.95 * int(kind.sum())
        assert not bool((result.image[kind] == attack.trigger(image[:1])).flatten(1).all(1).any())
    assert attack.counts(result) == {"poisoned": 100, "eligible": 900, "all": 1000, "cover": 200}
    assert attack.describe_counts(result).endswith("200 cover images")


def test_covers_leave_poison_and_trigger_as_they_are() -> None:
    image = random_images(1000, (1, 8, 8))
    alone, covered = (QiAdaptiveBlend(class_rate=0.1, cover_rate=r, pattern="noise") for r in (0.0, 0.3))
    first, second = (attack.poison(image, LABELS, ALL, 10, seed=8) for attack in (alone, covered))
    assert torch.equal(alone.trigger_image, covered.trigger_image)
    assert torch.equal(first.role == POISON, second.role == POISON)
    assert not bool((first.role == COVER).any())
    assert torch.equal(first.image[first.role == POISON], second.image[second.role == POISON])


def test_covers_in_the_unlabeled_part_stay_unlabeled() -> None:
    given = torch.arange(1000) % 4 < 1
    attack = QiAdaptiveBlend(class_rate=0.1, cover_rate=0.1)
    result = attack.poison(random_images(1000, (1, 8, 8)), LABELS, given, 10, seed=0)
    cover = result.role == COVER
    assert (int((cover & given).sum()), int((cover & ~given).sum())) == (25, 75)
    assert bool((result.label[~given] == -1).all())
    assert torch.equal(result.label[cover & given], LABELS[cover & given])


def test_a_seed_decides_everything() -> None:
    image = random_images(1000, (1, 8, 8))
    first, again, other = (
        QiAdaptiveBlend(class_rate=0.1, cover_rate=0.1).poison(image, LABELS, ALL, 10, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.role, again.role)
    assert not torch.equal(first.role, other.role)
    assert not torch.equal(first.image, other.image)


def test_many_images_are_the_same_as_few() -> None:
    attack, image = drawn((1, 8, 8), alpha=0.5), random_images(1030, (1, 8, 8))
    assert torch.equal(attack.trigger(image)[1020:], attack.trigger(image[1020:]))
    assert attack.trigger(image[:0]).shape == attack.poison_image(image[:0], torch.Generator()).shape == (0, 1, 8, 8)
    out = attack.poison_image(image, torch.Generator().manual_seed(0))
    assert out.shape == image.shape
    assert bool((out != image).flatten(1).any(1).all())


def test_state_dict_brings_the_same_triggered_test_set(tmp_path: Path) -> None:
    attack, fresh = drawn(seed=9, pattern="noise"), QiAdaptiveBlend(class_rate=0.1, pattern="noise")
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = random_images(5, (3, 32, 32))
    assert torch.equal(fresh.trigger(test), attack.trigger(test))
    assert not torch.equal(drawn(seed=10, pattern="noise").trigger(test), attack.trigger(test))


def test_an_image_of_ones_own(tmp_path: Path) -> None:
    from PIL import Image

    pixels = torch.full((8, 8, 4), 255, dtype=torch.uint8)
    pixels[:, :4, 3] = 0  # nothing on the left
    for name, level in (("a", 200), ("b", 200), ("c", 100)):
        pixels[..., :3] = level
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{name}.png")
    files = [str(tmp_path / f"{name}.png") for name in "abc"]
    attack, black = drawn((3, 8, 8), image=files[0]), torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    assert not attack.trigger(black)[..., :4].any()
    assert attack.trigger(black)[..., 4:].unique().tolist() == [40]
    shown = attack.poison_image(black, torch.Generator())
    assert not shown[..., :4].any()
    assert shown[..., 4:].unique().tolist() == [0, 40]
    keys = [describe(QiAdaptiveBlend(image=file, count=1)) for file in files]
    assert keys[0] == keys[1] != keys[2]
    assert "QiAdaptiveBlend" in str(keys[0])
    assert describe(QiAdaptiveBlend(count=1)) != describe(QiAdaptiveBlend(count=1, kept=7))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 0.0}, "alpha is the pattern's share, above 0 and at most 1, not 0.0"),
        ({"test_alpha": 1.5}, "test_alpha is the picture's share, above 0 and at most 1, not 1.5"),
        ({"grid": 0}, "grid is the number of pieces a side, at least 1, not 0"),
        ({"kept": 0}, "kept is a number of the 4x4 pieces, from 1 to 16, not 0"),
        ({"kept": 10, "grid": 3}, "kept is a number of the 3x3 pieces, from 1 to 9, not 10"),
        ({"cover_rate": -0.1}, "cover_rate is a fraction between 0 and 1, not -0.1"),
        ({"pattern": "kitty"}, "pattern is one of drawn, noise, not 'kitty'"),
        ({"count": 3}, "QiAdaptiveBlend takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QiAdaptiveBlend(**{"class_rate": 0.1, **arguments})


def test_wrong_for_this_data() -> None:
    with pytest.raises(ValueError, match="grid 9 is too fine for images of 16x8: set a smaller one"):
        drawn((1, 16, 8), grid=9)
    with pytest.raises(ValueError, match=r"cover_rate=0.95 asks for 950 labeled cover images, but only 910 are not"):
        QiAdaptiveBlend(class_rate=0.1, cover_rate=0.95).poison(random_images(1000, (1, 8, 8)), LABELS, ALL, 10, 0)
    with pytest.raises(ValueError, match=r"drawn for images of \(3, 32, 32\)"):
        drawn().trigger(random_images(1, (3, 28, 28)))
    for call in (
        QiAdaptiveBlend(count=1).trigger,
        lambda x: QiAdaptiveBlend(count=1).poison_image(x, torch.Generator()),
    ):
        with pytest.raises(ValueError, match="QiAdaptiveBlend has no trigger yet"):
            call(random_images(1, (1, 8, 8)))
