"""The mixture against its formula, the drawn figure, the patch's place, a picture of one's own, and the messages."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import POISON, Blend
from cleanse.attacks.blend import figure
from cleanse.engine.fingerprint import describe

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 12)]


def drawn(scope: Any = "whole", shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, **arguments: Any) -> Blend:
    attack = Blend(scope, class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(seed))
    return attack


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def save(path: Path, pixels: Tensor) -> str:
    """An image file from (h, w, 3 or 4) uint8."""
    from PIL import Image

    Image.fromarray(pixels.numpy()).save(path)
    return str(path)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("scope", "pattern", "alpha", "share"),
    [
        ("whole", None, None, 0.1),
        ("whole", "noise", 0.2, 0.2),
        ("patch", None, None, 0.4),
        ("patch", "drawn", 1.0, 1.0),
    ],
)
def test_the_mixture(scope: Any, pattern: Any, alpha: float | None, share: float, shape: tuple[int, int, int]) -> None:
    attack, image = drawn(scope, shape, pattern=pattern, alpha=alpha), random_images(3, shape)
    before, out = image.clone(), attack.trigger(image)
    exact = (1 - share) * before.double() + share * attack.trigger_image.double()
    assert out.dtype == torch.uint8
    assert torch.equal(image, before)
    inside, outside = attack.trigger_mask, ~attack.trigger_mask
    assert float((out.double() - exact)[:, :, inside].abs().max()) <= 0.5 + 1e-4  # rounded, not cut off
    assert torch.equal(out[:, :, outside], before[:, :, outside])


def test_every_level_and_tie() -> None:
    attack = drawn(shape=(1, 16, 16), alpha=0.5)
    level = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    attack.trigger_image.zero_()
    assert attack.trigger(level).flatten().tolist() == [round(0.5 * x) for x in range(256)]  # to even, like Python


def test_a_patch_is_nine_pixels_by_two_fifths() -> None:
    attack = drawn("patch")
    assert int(attack.trigger_mask.sum()) == 9
    assert len(attack.trigger_image[:, attack.trigger_mask].unique()) > 15
    for level in (0, 255):
        image = torch.full((1, 3, 32, 32), level, dtype=torch.uint8)
        change = attack.trigger(image).double()[0] - level
        rows, columns = (change != 0).any(0).nonzero().T
        assert len(rows) == 9
        assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 2
        expected = 0.4 * (attack.trigger_image.double()[:, rows, columns] - level)
        assert float((change[:, rows, columns] - expected).abs().max()) <= 0.5 + 1e-4


def test_places_are_uniform_over_seeds() -> None:
    places = [drawn("patch", (1, 5, 6), seed).trigger_mask.nonzero()[0].tolist() for seed in range(600)]
    rows, columns = torch.tensor(places).T
    assert torch.bincount(rows).min() > 150
    assert rows.max() == 2
    assert torch.bincount(columns).min() > 110
    assert columns.max() == 3


def test_noise_is_uniform() -> None:
    noise = drawn(pattern="noise", shape=(3, 64, 64)).trigger_image
    assert (int(noise.min()), int(noise.max())) == (0, 255)
    assert abs(float(noise.double().mean()) - 127.5) < 3
    assert abs(float(noise.double().std()) - 73.9) < 2


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (6, 10)])
def test_the_figure_is_its_formula(height: int, width: int) -> None:
    out = figure(height, width)
    for row in range(height):
        for column in range(width):
            y, x = (row + 0.5) / height - 0.5, (column + 0.5) / width - 0.5
            for channel, turns in enumerate((3 * math.sqrt(x * x + y * y), 2 * x + y, x - 2 * y)):
                level = 127.5 * (1 + math.cos(2 * math.pi * turns))
                assert float(out[channel, row, column]) == pytest.approx(level, abs=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_figure_has_contrast_in_every_size_and_channel(shape: tuple[int, int, int]) -> None:
    pattern = drawn(shape=shape).trigger_image.double()
    assert bool((pattern.flatten(1).std(1) > 50).all())
    assert torch.equal(pattern, drawn(shape=shape, seed=7).trigger_image.double())  # always the same picture


def test_gray_images_get_luminance() -> None:
    color, gray = figure(8, 8), drawn(shape=(1, 8, 8)).trigger_image[0]
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    assert float((gray.double() - luminance).abs().max()) <= 0.5


def test_many_images_are_the_same_as_few() -> None:
    attack, image = drawn(shape=(1, 8, 8)), random_images(1030, (1, 8, 8))
    assert torch.equal(attack.trigger(image), torch.stack([attack.trigger(one[None])[0] for one in image]))
    assert attack.trigger(image[:0]).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("scope", ["whole", "patch"])
def test_poisoning(scope: Any) -> None:
    label = torch.arange(1000) % 10
    image = torch.full((1000, 3, 8, 8), 77, dtype=torch.uint8)
    given = torch.ones(1000, dtype=torch.bool)
    attack, again, other = (Blend(scope, pattern="noise", target=2, class_rate=0.1) for _ in range(3))
    result = attack.poison(image, label, given, 10, seed=5)
    chosen = result.role == POISON
    assert int(chosen.sum()) == 90
    assert bool((result.label[chosen] == 2).all())
    assert torch.equal((result.image != 77).flatten(1).any(1), chosen)
    assert torch.equal(result.image[chosen], attack.trigger(image[chosen]))
    assert bool((image == 77).all())
    assert torch.equal(again.poison(image, label, given, 10, seed=5).image, result.image)
    assert not torch.equal(other.poison(image, label, given, 10, seed=6).image, result.image)


@pytest.mark.parametrize("arguments", [{"scope": "patch"}, {"pattern": "noise"}, {}])
def test_state_dict_brings_the_same_triggered_test_set(arguments: dict[str, Any], tmp_path: Path) -> None:
    attack, fresh = drawn(seed=9, **arguments), Blend(class_rate=0.1, **arguments)
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = random_images(5, (3, 32, 32))
    assert torch.equal(fresh.trigger(test), attack.trigger(test))


def test_an_image_of_ones_own(tmp_path: Path) -> None:
    from torchvision.transforms.v2.functional import resize as reference

    smooth = figure(50, 40).round().to(torch.uint8)
    file = save(tmp_path / "mine.png", smooth.permute(1, 2, 0).contiguous())
    attack = drawn(image=file)
    expected = reference(smooth, [32, 32], antialias=True)
    assert bool(attack.trigger_mask.all())
    assert int((attack.trigger_image.int() - expected.int()).abs().max()) <= 1
    assert attack.alpha == 0.1
    assert int(drawn("patch", image=file, size=5).trigger_mask.sum()) == 25
    assert drawn(image=file, shape=(1, 8, 8)).trigger_image.shape == (1, 8, 8)


def test_transparent_pixels_are_left_out(tmp_path: Path) -> None:
    pixels = torch.full((32, 32, 4), 255, dtype=torch.uint8)
    pixels[:, :16] = torch.tensor([0, 255, 0, 0], dtype=torch.uint8)  # invisible green on the left
    out = drawn(image=save(tmp_path / "logo.png", pixels), shape=(3, 8, 8)).trigger(torch.zeros(1, 3, 8, 8).byte())
    assert not out[..., :4].any()
    assert out[..., 4:].unique().tolist() == [26]  # 25.5, to even; no green has leaked in


def test_the_cache_key_follows_the_file_s_content(tmp_path: Path) -> None:
    black = torch.zeros(2, 2, 3, dtype=torch.uint8)
    a, same = save(tmp_path / "a.png", black), save(tmp_path / "b.png", black)
    other = save(tmp_path / "c.png", black + 1)
    keys = [describe(Blend(image=file, count=1)) for file in (a, same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert describe(Blend(alpha=0.1, count=1)) != describe(Blend(alpha=0.2, count=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "half"}, "scope is one of whole, patch, not 'half'"),
        ({"pattern": "kitty"}, "pattern is one of drawn, noise or none, not 'kitty'"),
        ({"alpha": 0.0}, "alpha is the pattern's share, above 0 and at most 1, not 0.0"),
        ({"alpha": 1.5}, "above 0 and at most 1, not 1.5"),
        ({"size": 3}, "size 3 means nothing for the whole image: set scope to patch"),
        ({"scope": "patch", "size": 0}, "size is the patch's side in pixels, at least 1, not 0"),
        ({"count": 3}, "Blend takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blend(**{"class_rate": 0.1, **arguments})


def test_wrong_for_these_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the patch is 9x9, but the images are only 16x8: set a smaller size"):
        drawn("patch", (1, 16, 8), size=9)
    with pytest.raises(ValueError, match="1 or 3 channels, not 4"):
        drawn(shape=(4, 8, 8))
    with pytest.raises(ValueError, match=r"missing.png' cannot be read as a trigger image"):
        drawn(image=str(tmp_path / "missing.png"))
    with pytest.raises(ValueError, match=r"drawn for images of \(3, 32, 32\)"):
        drawn().trigger(random_images(1, (1, 32, 32)))
    with pytest.raises(ValueError, match="Blend has no trigger yet"):
        Blend(count=1).trigger(random_images(1, (1, 8, 8)))
