"""The patches and their places, one in a training image and several in a test image, covers, and the messages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import CLEAN, COVER, POISON, QiAdaptivePatch
from cleanse.attacks.badnets import INK
from cleanse.attacks.base import match_channels
from cleanse.attacks.qi_adaptive_patch import PATCHES, draw_patch
from cleanse.engine.fingerprint import describe

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)]
LABELS = torch.arange(1000) % 10
ALL = torch.ones(1000, dtype=torch.bool)
ALPHAS = (0.5, 0.5, 0.2, 0.3)


def drawn(shape: tuple[int, int, int] = (3, 32, 32), **arguments: Any) -> QiAdaptivePatch:
    attack = QiAdaptivePatch(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator())
    return attack


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def save(path: Path, pixels: Tensor) -> str:
    """An image file from (h, w, 4) uint8."""
    from PIL import Image

    Image.fromarray(pixels.numpy()).save(path)
    return str(path)


def original(image: Tensor, patches: list[tuple[Tensor, Tensor]], alphas: list[float]) -> Tensor:
    """The published formula, one patch after the other; levels, not rounded."""
    x = image.double()
    for (color, mask), alpha in zip(patches, alphas, strict=True):
        x = x + alpha * mask.double() * (match_channels(color, image.shape[-3]).double() - x)
    return x


@pytest.mark.parametrize("name", list(PATCHES))
def test_the_drawings_are_a_loop_over_pixels(name: str) -> None:
    patch = PATCHES[name]
    color, mask = draw_patch(patch, 32, 32)
    seen = 0
    for top, left, height, width in patch.places:
        for row in range(height):
            for column in range(width):
                letter = patch.drawing[row * len(patch.drawing) // height][column * len(patch.drawing[0]) // width]
                at = (top + row, left + column)
                assert bool(mask[at]) == (letter != ".")
                if letter != ".":
                    seen += 1
                    assert tuple(color[:, at[0], at[1]].tolist()) == INK[letter]
    assert int(mask.sum()) == seen


def test_the_places_are_the_originals() -> None:
    """First and last row and column, and how many pixels, on a 32x32 image."""
    box = {}
    for name, patch in PATCHES.items():
        mask = draw_patch(patch, 32, 32)[1]
        rows, columns = mask.nonzero().T
        box[name] = (*(int(v) for v in (rows.min(), rows.max(), columns.min(), columns.max())), int(mask.sum()))
    assert box == {
        "star": (27, 31, 27, 31, 25),
        "corners": (0, 31, 0, 31, 36),
        "disc": (1, 13, 18, 30, 136),
        "square": (21, 28, 21, 28, 64),
    }


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (9, 13), (4, 4), (224, 224), (64, 48)])
def test_every_patch_is_on_every_image(height: int, width: int) -> None:
    for patch in PATCHES.values():
        mask = draw_patch(patch, height, width)[1]
        for row, column, h, w in patch.places:  # at the middle of its place
            assert mask[int((row + h / 2) * height / 32), int((column + w / 2) * width / 32)]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_training_image_carries_one_patch(shape: tuple[int, int, int]) -> None:
    attack, image = drawn(shape), random_images(40, shape)
    before, out = image.clone(), attack.poison_image(image, torch.Generator().manual_seed(3))
    assert torch.equal(image, before)
    assert out.dtype == torch.uint8
    patches = [draw_patch(patch, *shape[1:]) for patch in PATCHES.values()]
    each = [original(image, [patch], [alpha]) for patch, alpha in zip(patches, ALPHAS, strict=True)]
    fits = torch.stack([(out.double() - exact).abs().flatten(1).amax(1) <= 0.5 + 1e-4 for exact in each], 1)
    assert fits.sum(0).tolist() == [10, 10, 10, 10]
    assert bool((fits.sum(1) == 1).all())
    order = fits.int().argmax(1)
    assert len(order[:10].unique()) > 1  # at random, not one quarter after the other
    assert not torch.equal(out, attack.poison_image(image, torch.Generator().manual_seed(4)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("test", "number"), [("half", 2), ("all", 4)])
@pytest.mark.parametrize("alpha", [1.0, 0.6])
def test_test_images_carry_several(shape: tuple[int, int, int], test: Any, number: int, alpha: float) -> None:
    attack, image = drawn(shape, test=test, test_alpha=alpha), random_images(3, shape)
    before, out = image.clone(), attack.trigger(image)
    patches = [draw_patch(patch, *shape[1:]) for patch in PATCHES.values()][:number]
    exact = original(before, patches, [alpha] * number)
    assert torch.equal(image, before)
    assert float((out.double() - exact).abs().max()) <= 0.5 + 1e-4
    shown = torch.stack([mask for _, mask in patches]).any(0)
    assert torch.equal(out[:, :, ~shown], before[:, :, ~shown])


def test_the_later_patch_lies_on_top() -> None:
    out = drawn().trigger(random_images(1, (3, 32, 32)))[0]
    assert out[:, 31, 31].tolist() == [255, 255, 255]  # the white corner of `corners`, not the red one of `star`
    assert out[:, 27, 27].tolist() == [255, 0, 0]


def test_poison_and_covers() -> None:
    image = torch.full((1000, 1, 8, 8), 77, dtype=torch.uint8)
    attack = QiAdaptivePatch(poison_rate=0.1, cover_rate=0.2, target=3)
    result = attack.poison(image, LABELS, ALL, 10, seed=5)
    poison, cover, clean = (result.role == role for role in (POISON, COVER, CLEAN))
    assert (int(poison.sum()), int(cover.sum()), int(clean.sum())) == (100, 200, 700)
    assert torch.equal((result.image != 77).flatten(1).any(1), ~clean)
    assert bool((image == 77).all())
    assert torch.equal(result.label[~poison], LABELS[~poison])
    assert bool((result.label[poison] == 3).all())
    assert bool((LABELS[cover] == 3).any())
    assert not bool((LABELS[poison] == 3).any())
    for kind in (poison, cover):  # four patches in equal shares, never the test image's
        seen, count = result.image[kind].unique(dim=0, return_counts=True)
        assert len(seen) == 4
        assert len(count.unique()) == 1
        assert not bool((seen == attack.trigger(image[:1])).flatten(1).all(1).any())
    assert attack.counts(result) == {"poisoned": 100, "eligible": 900, "all": 1000, "cover": 200}
    assert attack.describe_counts(result).endswith("200 cover images")


def test_covers_leave_poison_as_it_is() -> None:
    image = random_images(1000, (1, 8, 8))
    first, second = (
        QiAdaptivePatch(class_rate=0.1, cover_rate=rate).poison(image, LABELS, ALL, 10, seed=8) for rate in (0.0, 0.3)
    )
    assert torch.equal(first.role == POISON, second.role == POISON)
    assert not bool((first.role == COVER).any())
    assert torch.equal(first.image[first.role == POISON], second.image[second.role == POISON])


def test_covers_in_the_unlabeled_part_stay_unlabeled() -> None:
    given = torch.arange(1000) % 4 < 1
    attack = QiAdaptivePatch(class_rate=0.1, cover_rate=0.1)
    result = attack.poison(random_images(1000, (1, 8, 8)), LABELS, given, 10, seed=0)
    cover = result.role == COVER
    assert (int((cover & given).sum()), int((cover & ~given).sum())) == (25, 75)
    assert bool((result.label[~given] == -1).all())
    assert torch.equal(result.label[cover & given], LABELS[cover & given])


def test_a_seed_decides_everything() -> None:
    image = random_images(1000, (1, 8, 8))
    first, again, other = (
        QiAdaptivePatch(class_rate=0.1, cover_rate=0.1).poison(image, LABELS, ALL, 10, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.role, again.role)
    assert not torch.equal(first.role, other.role)
    assert not torch.equal(first.image, other.image)


def test_many_images_are_the_same_as_few() -> None:
    attack, image = drawn((1, 8, 8)), random_images(1030, (1, 8, 8))
    assert torch.equal(attack.trigger(image)[1020:], attack.trigger(image[1020:]))
    assert attack.trigger(image[:0]).shape == attack.poison_image(image[:0], torch.Generator()).shape == (0, 1, 8, 8)
    assert attack.poison_image(image, torch.Generator()).shape == image.shape


def test_state_dict_brings_the_same_triggered_test_set(tmp_path: Path) -> None:
    attack, fresh = drawn(), QiAdaptivePatch(class_rate=0.1)
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = random_images(5, (3, 32, 32))
    assert torch.equal(fresh.trigger(test), attack.trigger(test))


def test_patches_of_ones_own(tmp_path: Path) -> None:
    files = []
    for i in range(3):  # one row each
        pixels = torch.zeros(8, 8, 4, dtype=torch.uint8)
        pixels[2 * i] = torch.tensor([100, 100, 100, 255], dtype=torch.uint8)
        files.append(save(tmp_path / f"{i}.png", pixels))
    attack = drawn((3, 8, 8), images=files, alphas=(0.1, 0.2, 0.4))
    black = torch.zeros(9, 3, 8, 8, dtype=torch.uint8)
    assert attack.trigger(black)[0, 0, :, 0].tolist() == [100, 0, 100, 0, 0, 0, 0, 0]  # two of three
    levels = attack.poison_image(black, torch.Generator())[:, 0, :, 0].tolist()
    for row, level in ((0, 10), (2, 20), (4, 40)):
        assert levels.count([level if r == row else 0 for r in range(8)]) == 3
    same = save(tmp_path / "same.png", pixels)
    other = save(tmp_path / "other.png", pixels.flip(0))
    keys = [describe(QiAdaptivePatch([file], alphas=(0.5,), count=1)) for file in (files[2], same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert describe(QiAdaptivePatch(count=1)) != describe(QiAdaptivePatch(count=1, test="all"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alphas": (0.5, 0.5)}, r"alphas is \[0.5, 0.5\], 2 numbers for 4 patches: give one for each"),
        ({"images": ["a.png"]}, "4 numbers for 1 patches"),
        ({"images": []}, "images names no file: give one for each patch, or leave it null"),
        ({"alphas": (0.5, 0.5, 0.0, 0.3)}, "alphas: a patch's share is above 0 and at most 1, not 0.0"),
        ({"test_alpha": 1.5}, "test_alpha: a patch's share is above 0 and at most 1, not 1.5"),
        ({"test": "pair"}, "test is one of half, all, not 'pair'"),
        ({"cover_rate": 1.1}, "cover_rate is a fraction between 0 and 1, not 1.1"),
        ({"count": 3}, "QiAdaptivePatch takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QiAdaptivePatch(**{"class_rate": 0.1, **arguments})


def test_wrong_for_this_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cover_rate=0.95 asks for 950 labeled cover images, but only 910 are not"):
        QiAdaptivePatch(class_rate=0.1, cover_rate=0.95).poison(random_images(1000, (1, 8, 8)), LABELS, ALL, 10, 0)
    opaque = save(tmp_path / "opaque.png", torch.full((4, 4, 4), 255, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"opaque.png' is opaque everywhere"):
        drawn(images=[opaque], alphas=(0.5,))
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        drawn((4, 8, 8))
    with pytest.raises(ValueError, match=r"drawn for images of \(3, 32, 32\)"):
        drawn().trigger(random_images(1, (3, 28, 28)))
    with pytest.raises(ValueError, match="QiAdaptivePatch has no trigger yet"):
        QiAdaptivePatch(count=1).trigger(random_images(1, (1, 8, 8)))
