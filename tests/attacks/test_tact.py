"""The patch, its place, poison of one class and covers of others, a patch of one's own, and the messages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import CLEAN, COVER, POISON, TaCT
from cleanse.attacks.badnets import BLOCKS, INK
from cleanse.engine.fingerprint import describe

LABELS = torch.arange(1000) % 10
ALL = torch.ones(1000, dtype=torch.bool)


def drawn(shape: tuple[int, int, int] = (3, 32, 32), **arguments: Any) -> TaCT:
    attack = TaCT(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator())
    return attack


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def save(path: Path, pixels: Tensor) -> str:
    """An image file from (h, w, 4) uint8."""
    from PIL import Image

    Image.fromarray(pixels.numpy()).save(path)
    return str(path)


def test_the_patch_is_a_loop_over_pixels() -> None:
    image = random_images(2, (3, 32, 32))
    before, out = image.clone(), drawn().trigger(image)
    for row in range(32):
        for column in range(32):
            expected = before[:, :, row, column]
            if 21 <= row <= 28 and 21 <= column <= 28:
                expected = torch.tensor(INK[BLOCKS[(row - 21) // 2][(column - 21) // 2]]).expand(2, 3)
            assert torch.equal(out[:, :, row, column], expected)
    assert torch.equal(image, before)


@pytest.mark.parametrize(("shape", "pixels"), [((1, 8, 8), 9), ((1, 28, 28), 64), ((3, 64, 64), 256)])
def test_the_patch_grows_with_the_image(shape: tuple[int, int, int], pixels: int) -> None:
    attack = drawn(shape)
    assert int(attack.trigger_mask.sum()) == pixels
    changed = (attack.trigger(random_images(50, shape)) != random_images(50, shape)).flatten(0, 1).any(0)
    assert torch.equal(changed, attack.trigger_mask)


@pytest.mark.parametrize(
    ("cover_classes", "of"), [((5, 7), {5, 7}), (None, set(range(10)) - {2, 3}), ((9,), {9}), ((0,), {0})]
)
def test_poison_and_covers(cover_classes: Any, of: set[int]) -> None:
    image = torch.full((1000, 3, 8, 8), 77, dtype=torch.uint8)
    attack = TaCT(cover_classes=cover_classes, cover_rate=0.08, source=3, target=2, class_rate=0.25)
    attack.check_classes(10)
    result = attack.poison(image, LABELS, ALL, 10, seed=4)
    poison, cover = result.role == POISON, result.role == COVER
    assert (int(poison.sum()), int(cover.sum()), int((result.role == CLEAN).sum())) == (25, 80, 895)
    assert set(LABELS[poison].tolist()) == {3}
    assert set(result.label[poison].tolist()) == {2}
    assert set(LABELS[cover].tolist()) == of
    assert torch.equal(result.label[~poison], LABELS[~poison])
    assert torch.equal((result.image != 77).flatten(1).any(1), poison | cover)
    assert torch.equal(result.image[poison | cover], attack.trigger(image[poison | cover]))
    assert attack.counts(result) == {"poisoned": 25, "eligible": 100, "all": 1000, "cover": 80}
    assert attack.describe_counts(result).endswith("80 cover images")
    assert torch.equal(attack.measured(LABELS), LABELS == 3)
    assert bool((image == 77).all())


def test_covers_leave_poison_as_it_is() -> None:
    image = random_images(1000, (1, 8, 8))
    first, second = (TaCT(class_rate=0.5, cover_rate=r).poison(image, LABELS, ALL, 10, seed=8) for r in (0.0, 0.1))
    assert torch.equal(first.role == POISON, second.role == POISON)
    assert not bool((first.role == COVER).any())


def test_covers_in_the_unlabeled_part_stay_unlabeled() -> None:
    given = torch.arange(1000) < 250
    result = TaCT(class_rate=0.2, cover_rate=0.1).poison(random_images(1000, (1, 8, 8)), LABELS, given, 10, seed=0)
    cover = result.role == COVER
    assert (int((cover & given).sum()), int((cover & ~given).sum())) == (25, 75)
    assert bool((result.label[~given] == -1).all())
    assert torch.equal(result.label[cover & given], LABELS[cover & given])


def test_a_seed_decides_everything() -> None:
    image = random_images(1000, (1, 8, 8))
    first, again, other = (
        TaCT(class_rate=0.5, cover_rate=0.05).poison(image, LABELS, ALL, 10, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.role, again.role)
    for role in (POISON, COVER):
        assert not torch.equal(first.role == role, other.role == role)


def test_a_patch_of_ones_own(tmp_path: Path) -> None:
    pixels = torch.zeros(16, 16, 4, dtype=torch.uint8)
    pixels[..., 1] = 255  # green that does not show
    pixels[2:4, 6:12] = torch.tensor([9, 200, 30, 255], dtype=torch.uint8)
    attack = drawn(image=save(tmp_path / "mine.png", pixels), shape=(3, 16, 16))
    out = attack.trigger(torch.zeros(1, 3, 16, 16, dtype=torch.uint8))[0]
    assert out[:, 2:4, 6:12].flatten(1).unique(dim=1).flatten().tolist() == [9, 200, 30]
    assert int(out.any(0).sum()) == int(attack.trigger_mask.sum()) == 12
    assert int(drawn(image=str(tmp_path / "mine.png"), shape=(1, 8, 8)).trigger_mask.sum()) == 3


def test_the_cache_key_follows_the_file_s_content(tmp_path: Path) -> None:
    black = torch.zeros(2, 2, 4, dtype=torch.uint8)
    files = [save(tmp_path / f"{n}.png", p) for n, p in (("a", black), ("b", black), ("c", black + 1))]
    keys = [describe(TaCT(image=file, count=1)) for file in files]
    assert keys[0] == keys[1] != keys[2]
    assert describe(TaCT(count=1)) != describe(TaCT(count=1, cover_classes=None))


def test_state_dict_brings_the_same_triggered_test_set(tmp_path: Path) -> None:
    attack, fresh = drawn(), TaCT(class_rate=0.1)
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = random_images(5, (3, 32, 32))
    assert torch.equal(fresh.trigger(test), attack.trigger(test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cover_rate": 2.0}, "cover_rate is a fraction between 0 and 1, not 2.0"),
        ({"cover_classes": (0, 5)}, r"cover_classes \[0, 5\] has the target class 0: covers are of other classes"),
        ({"cover_classes": (1,)}, r"cover_classes \[1\] has the source class 1"),
        ({"source": 0}, "source and target are both class 0"),
        ({"count": 3}, "TaCT takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaCT(**{"class_rate": 0.1, **arguments})


def test_wrong_for_this_data(tmp_path: Path) -> None:
    image = random_images(1000, (1, 8, 8))
    with pytest.raises(ValueError, match=r"cover_rate=0.3 asks for 300 labeled cover images, but only 200 are not"):
        TaCT(class_rate=0.1, cover_rate=0.3).poison(image, LABELS, ALL, 10, 0)
    with pytest.raises(ValueError, match="cover_classes: 7 is out of range, the data has classes 0 to 5"):
        TaCT(class_rate=0.1).poison(image, LABELS % 6, ALL, 6, 0)
    with pytest.raises(ValueError, match="source class 11 is out of range"):
        TaCT(class_rate=0.1, source=11).poison(image, LABELS, ALL, 10, 0)
    for alpha, word in ((255, "opaque"), (0, "transparent")):
        file = save(tmp_path / "even.png", torch.full((4, 4, 4), alpha, dtype=torch.uint8))
        with pytest.raises(ValueError, match=f"even.png' is {word} everywhere: give a picture of the whole image"):
            drawn(image=file)
    with pytest.raises(ValueError, match=r"missing.png' cannot be read as a trigger image"):
        drawn(image=str(tmp_path / "missing.png"))
    with pytest.raises(ValueError, match=r"drawn for images of \(3, 32, 32\)"):
        drawn().trigger(random_images(1, (3, 28, 28)))
    with pytest.raises(ValueError, match="TaCT has no trigger yet"):
        TaCT(count=1).trigger(image[:1])
