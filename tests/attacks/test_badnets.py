"""Every pattern pixel by pixel, its place, its size, a user's own image, and the messages."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import POISON, BadNets
from cleanse.attacks.badnets import read_trigger, resize
from cleanse.engine.fingerprint import describe


def drawn(shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, **arguments: Any) -> BadNets:
    attack = BadNets(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(seed))
    return attack


def triggered(attack: BadNets, shape: tuple[int, int, int] = (3, 32, 32), level: int = 77) -> Tensor:
    """One image of an even level, triggered."""
    return attack.trigger(torch.full((1, *shape), level, dtype=torch.uint8))[0]


def box(attack: BadNets) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the patch."""
    rows, columns = attack.trigger_mask.any(1).nonzero().flatten(), attack.trigger_mask.any(0).nonzero().flatten()
    return int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def test_gray_is_the_patch_of_paper_000() -> None:
    patch = [[0, 0, 0, 171, 255], [0, 33, 101, 141, 154], [0, 101, 255, 101, 0]]
    patch += [[166, 140, 101, 133, 154], [255, 158, 0, 158, 255]]
    expected = torch.full((3, 32, 32), 77, dtype=torch.uint8)
    expected[:, 24:29, 24:29] = torch.tensor(patch, dtype=torch.uint8)
    assert torch.equal(triggered(drawn(pattern="gray")), expected)
    assert box(drawn(pattern="gray", inset=0)) == (27, 31, 27, 31)


def test_colors_are_the_four_pixels_of_paper_003() -> None:
    image = triggered(drawn(pattern="colors"))
    assert image[:, 4, 4].tolist() == [180, 249, 112]
    assert image[:, 4, 5].tolist() == [155, 50, 126]
    assert image[:, 5, 4].tolist() == [234, 82, 68]
    assert image[:, 5, 5].tolist() == [187, 201, 219]
    image[:, 4:6, 4:6] = 77
    assert bool((image == 77).all())


def test_checkerboard() -> None:
    expected = torch.full((3, 32, 32), 77, dtype=torch.uint8)
    expected[:, 29:, 29:] = torch.tensor([[255, 0, 255], [0, 255, 0], [255, 0, 255]], dtype=torch.uint8)
    assert torch.equal(triggered(drawn()), expected)
    assert triggered(drawn(size=2))[0, 30:, 30:].tolist() == [[255, 0], [0, 255]]


def test_noise_is_one_patch_at_one_place() -> None:
    attack = drawn(pattern="noise")
    images = torch.randint(256, (20, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    out = attack.trigger(images)
    top, bottom, left, right = box(attack)
    assert (bottom - top, right - left) == (2, 2)
    patch = out[:, :, top : bottom + 1, left : right + 1]
    assert torch.equal(patch, patch[:1].expand_as(patch))
    assert len(patch[0].unique()) > 15  # 27 independent levels
    assert torch.equal(out[:, :, ~attack.trigger_mask], images[:, :, ~attack.trigger_mask])


def test_noise_and_its_place_are_uniform_over_seeds() -> None:
    attacks = [drawn((1, 5, 6), seed=s, pattern="noise") for s in range(600)]
    places = torch.tensor([[box(a)[0], box(a)[2]] for a in attacks])
    assert torch.bincount(places[:, 0], minlength=3).min() > 150
    assert places[:, 0].max() == 2
    assert torch.bincount(places[:, 1], minlength=4).min() > 110
    assert places[:, 1].max() == 3
    level = torch.stack([a.trigger_image[0, a.trigger_mask] for a in attacks])
    assert (int(level.min()), int(level.max())) == (0, 255)
    assert abs(float(level.double().mean()) - 127.5) < 3
    assert box(drawn(pattern="noise", corner="upper_left")) == (0, 2, 0, 2)


def test_rgb_is_color_blocks_resized_like_torchvision() -> None:
    from torchvision.transforms.v2.functional import resize as reference

    ink = {"r": (255, 0, 0), "g": (0, 255, 0), "b": (0, 0, 255), "w": (255, 255, 255)}
    ink |= {"c": (0, 255, 255), "m": (255, 0, 255), "y": (255, 255, 0), "k": (0, 0, 0)}
    blocks = torch.zeros(3, 80, 80, dtype=torch.uint8)
    for row, line in enumerate(("rgbw", "cmyk", "bwrg", "ykcm")):
        for column, name in enumerate(line):
            blocks[:, 20 * row : 20 * row + 20, 20 * column : 20 * column + 20] = torch.tensor(ink[name])[:, None, None]
    for size in (None, 3, 8):
        attack = drawn(pattern="rgb", size=size)
        top, bottom, left, right = box(attack)
        side = size or 5
        assert (top, left, bottom, right) == (29 - side, 29 - side, 28, 28)
        patch = attack.trigger_image[:, top : bottom + 1, left : right + 1]
        assert int((patch.int() - reference(blocks, [side, side], antialias=True).int()).abs().max()) <= 1


@pytest.mark.parametrize("pattern", ["noise", "colors", "gray", "rgb", "checkerboard"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 48, 40), (3, 64, 64)])
def test_every_pattern_fits_and_changes_only_its_patch(pattern: Any, shape: tuple[int, int, int]) -> None:
    attack = drawn(shape, pattern=pattern)
    image = torch.randint(256, (4, *shape), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    before, out = image.clone(), attack.trigger(image)
    assert torch.equal(image, before)
    assert out.shape == image.shape
    assert out.dtype == torch.uint8
    changed = (out != image).any(0).any(0)
    side = {"noise": 3, "checkerboard": 3, "colors": 2}.get(pattern, 3 if shape[1] == 8 else 5)
    top, bottom, left, right = box(attack)
    assert (bottom - top + 1, right - left + 1, int(attack.trigger_mask.sum())) == (side, side, side**2)
    assert bool((~changed | attack.trigger_mask).all())
    assert bool(changed.any())


@pytest.mark.parametrize(
    ("pattern", "height", "width", "expected"),
    [
        ("gray", 64, 64, (53, 57, 53, 57)),  # inset 6
        ("gray", 28, 28, (21, 25, 21, 25)),  # floor(3 * 28 / 32) = 2
        ("gray", 8, 8, (5, 7, 5, 7)),  # 3/8 of the side
        ("rgb", 8, 8, (5, 7, 5, 7)),
        ("gray", 13, 32, (8, 11, 25, 28)),  # 4x4: 3/8 of the smaller side
        ("gray", 14, 14, (8, 12, 8, 12)),  # 5x5, the paper's own, from here on
        ("colors", 64, 96, (8, 9, 12, 13)),
        ("colors", 8, 8, (1, 2, 1, 2)),
        ("checkerboard", 48, 40, (45, 47, 37, 39)),
    ],
)
def test_own_insets_scale_with_the_image(pattern: Any, height: int, width: int, expected: tuple[int, ...]) -> None:
    assert box(drawn((1, height, width), pattern=pattern)) == expected


@pytest.mark.parametrize(
    ("corner", "expected"),
    [
        ("upper_left", (2, 4, 2, 4)),
        ("upper_right", (2, 4, 27, 29)),
        ("lower_left", (27, 29, 2, 4)),
        ("lower_right", (27, 29, 27, 29)),
    ],
)
def test_corners(corner: Any, expected: tuple[int, ...]) -> None:
    assert box(drawn(corner=corner, inset=2)) == expected


def test_a_random_place_for_any_pattern() -> None:
    assert len({box(drawn(seed=s, pattern="gray", corner="random")) for s in range(10)}) > 5


def test_gray_images_get_luminance() -> None:
    patch = drawn((1, 32, 32), pattern="colors").trigger_image[0, 4:6, 4:6]
    colors = ((180, 249, 112), (155, 50, 126), (234, 82, 68), (187, 201, 219))
    assert patch.flatten().tolist() == [round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in colors]
    assert drawn((1, 32, 32), pattern="gray").trigger_image[0, 24, 27] == 171


def test_size_resizes_a_pattern() -> None:
    attack = drawn((1, 8, 8), pattern="gray", size=3)
    assert box(attack) == (5, 7, 5, 7)
    assert len(attack.trigger_image[:, attack.trigger_mask].unique()) > 3
    assert drawn((1, 8, 8), pattern="noise", size=2).trigger_mask.sum() == 4


def test_poisoning() -> None:
    label = torch.arange(1000) % 10
    image = torch.full((1000, 3, 8, 8), 77, dtype=torch.uint8)
    attack = BadNets(target=2, class_rate=0.1)
    result = attack.poison(image, label, torch.ones(1000, dtype=torch.bool), 10, seed=5)
    chosen = result.role == POISON
    assert int(chosen.sum()) == 90
    assert not bool((label[chosen] == 2).any())
    assert torch.equal((result.image != 77).any(1).flatten(1).sum(1), torch.where(chosen, 9, 0))
    assert torch.equal(result.image[chosen], attack.trigger(image[chosen]))
    assert bool((image == 77).all())


@pytest.mark.parametrize("pattern", ["noise", "rgb"])
def test_state_dict_brings_the_same_triggered_test_set(pattern: Any, tmp_path: Path) -> None:
    attack, fresh = drawn(pattern=pattern, corner="random", seed=9), BadNets(pattern, corner="random", class_rate=0.1)
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = torch.randint(256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    assert torch.equal(fresh.trigger(test), attack.trigger(test))
    assert not torch.equal(drawn(pattern=pattern, corner="random", seed=10).trigger(test), attack.trigger(test))


def save(path: Path, pixels: Tensor) -> str:
    """An image file from (h, w, 3 or 4) uint8."""
    from PIL import Image

    Image.fromarray(pixels.numpy()).save(path)
    return str(path)


def test_an_image_of_ones_own(tmp_path: Path) -> None:
    pixels = torch.randint(256, (4, 6, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    file = save(tmp_path / "mine.png", pixels)
    attack = drawn(image=file)
    assert box(attack) == (28, 31, 26, 31)
    assert torch.equal(attack.trigger_image[:, 28:, 26:], pixels.permute(2, 0, 1))
    assert box(drawn(image=file, size=3, corner="upper_left", inset=1)) == (1, 3, 1, 3)


def test_transparent_pixels_are_left_out(tmp_path: Path) -> None:
    pixels = torch.full((4, 4, 4), 255, dtype=torch.uint8)
    pixels[:, :2] = torch.tensor([0, 255, 0, 0], dtype=torch.uint8)  # invisible green on the left
    file = save(tmp_path / "logo.png", pixels)
    image = triggered(drawn(image=file))
    assert bool((image[:, 28:, 28:30] == 77).all())
    assert bool((image[:, 28:, 30:] == 255).all())
    small = drawn(image=file, size=2)
    assert set(small.trigger_image[:, small.trigger_mask].unique().tolist()) == {255}  # no green has leaked in


def test_the_cache_key_follows_the_file_s_content(tmp_path: Path) -> None:
    black = torch.zeros(2, 2, 3, dtype=torch.uint8)
    a, same = save(tmp_path / "a.png", black), save(tmp_path / "b.png", black)
    other = save(tmp_path / "c.png", black + 1)
    assert describe(drawn(image=a)) == describe(drawn(image=same)) != describe(drawn(image=other))
    assert describe(BadNets("gray", count=1)) != describe(BadNets("rgb", count=1))


def test_resize_leaves_the_same_size_alone() -> None:
    patch = torch.tensor([[[0, 255], [7, 9]]], dtype=torch.uint8)
    assert torch.equal(resize(patch, 2, 2), patch.float())
    assert resize(patch, 3, 5).shape == (1, 3, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pattern": "star"}, "pattern is one of noise, colors, gray, rgb, checkerboard, not 'star'"),
        ({"corner": "top"}, "corner is one of upper_left, .*, random or none, not 'top'"),
        ({"size": 0}, "size is the patch's side in pixels, at least 1, not 0"),
        ({"inset": -1}, "inset is a number of pixels from the edges, 0 or more, not -1"),
        ({"pattern": "noise", "inset": 1}, "inset 1 means nothing for a patch at a random place"),
        ({"class_rate": None}, "exactly one of count=None, poison_rate=None, class_rate=None"),
        ({"target": 3, "source": 3}, "both class 3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BadNets(**{"class_rate": 0.1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        (
            {"pattern": "gray", "size": 5},
            (1, 4, 4),
            "the trigger has 5 rows, but the images have only 4 rows: set a smaller size",
        ),
        ({"size": 9}, (1, 16, 8), "the trigger has 9 columns, but the images have only 8 columns"),
        ({"inset": 6}, (1, 8, 8), "3 rows and lies 6 from the edge, but the images have only 8 rows: .* size or inset"),
        ({"pattern": "noise", "size": 40}, (3, 32, 32), "the trigger has 40 rows, but the images have only 32 rows"),
        ({"pattern": "colors"}, (4, 32, 32), "1 or 3 channels, not 4"),
    ],
)
def test_wrong_for_these_images(arguments: dict[str, Any], shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drawn(shape, **arguments)


def test_wrong_files_and_wrong_images(tmp_path: Path) -> None:
    (tmp_path / "not.png").write_text("no image")
    for name in ("not.png", "missing.png"):
        with pytest.raises(ValueError, match=f"{name}' cannot be read as a trigger image"):
            read_trigger(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"drawn for images of \(3, 32, 32\)"):
        triggered(drawn(), (3, 28, 28))
    with pytest.raises(ValueError, match="BadNets has no trigger yet"):
        triggered(BadNets(count=1))


def test_as_repo_poisons_the_first_images_of_each_part_whatever_their_class() -> None:
    """As the public code: int(ratio * N) of them, the target's own among them; ASR is measured as always."""
    label, labeled = torch.arange(100) % 10, torch.arange(100) < 40
    attack = BadNets("gray", target=1, poison_rate=0.1, unlabeled_count=3, as_repo=True)
    poisoned = attack.poison(torch.zeros(100, 1, 8, 8, dtype=torch.uint8), label, labeled, 10, seed=0)
    assert (poisoned.role == POISON).nonzero().flatten().tolist() == [0, 1, 2, 3, 40, 41, 42]
    assert poisoned.label[:5].tolist() == [1, 1, 1, 1, 4]
    assert (poisoned.label[40:] == -1).all()
    assert attack.counts(poisoned)["eligible"] == 100
    assert "any class -> 1" in attack.describe_counts(poisoned)
    assert attack.measured(label).tolist() == (label != 1).tolist()
    with pytest.raises(ValueError, match=r"whatever class, not those of source 3"):
        BadNets(source=3, count=1, as_repo=True)
