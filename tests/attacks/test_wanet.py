"""The grid against the original's formulas, the warp against a loop over pixels, cover images, and the messages."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cleanse.attacks import CLEAN, COVER, POISON, WaNet
from cleanse.attacks.wanet import jitter, warp, warp_grid

SHAPES = [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32)]
LABELS = torch.arange(1000) % 10
ALL = torch.ones(1000, dtype=torch.bool)


def drawn(shape: tuple[int, int, int] = (3, 32, 32), seed: int = 0, **arguments: Any) -> WaNet:
    attack = WaNet(class_rate=0.1, **arguments)
    attack.draw(shape, torch.Generator().manual_seed(seed))
    return attack


def random_images(number: int, shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(256, (number, *shape), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def original_grid(ins: Tensor, size: int, s: float, rescale: float) -> Tensor:
    """The published formulas, on square images: (1, size, size, 2) from uniform (1, 2, k, k)."""
    ins = ins * 2 - 1
    ins = ins / torch.mean(torch.abs(ins))
    noise_grid = nn.functional.interpolate(ins, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    array1d = torch.linspace(-1, 1, steps=size)
    first, second = torch.meshgrid(array1d, array1d, indexing="ij")
    identity_grid = torch.stack((second, first), 2)[None, ...]
    return torch.clamp((identity_grid + s * noise_grid / size) * rescale, -1, 1)


def original_warp(image: Tensor, grid: Tensor) -> Tensor:
    """The published warp in [0, 1]; levels, not rounded."""
    grid = grid.repeat(len(image) // len(grid), 1, 1, 1)
    return nn.functional.grid_sample(image.float() / 255, grid, align_corners=True) * 255


def looped_warp(image: Tensor, grid: Tensor) -> Tensor:
    """Bilinear sampling of one image, pixel by pixel, in double precision."""
    channels, height, width = image.shape
    out = torch.zeros(channels, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            x, y = ((float(v) + 1) / 2 * (n - 1) for v, n in zip(grid[row, column], (width, height), strict=True))
            left, top = math.floor(x), math.floor(y)
            for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                weight = (1 - abs(x - c)) * (1 - abs(y - r))
                if weight > 0 and r < height and c < width:
                    out[:, row, column] += weight * image[:, r, c].double()
    return out


def assert_rounded(levels: Tensor, exact: Tensor) -> None:
    """Levels are the nearest to the exact value, up to float errors at ties."""
    assert levels.dtype == torch.uint8
    assert float((levels.double() - exact.double()).abs().max()) <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [8, 28, 32])
@pytest.mark.parametrize(
    ("k", "s", "rescale"), [(4, 0.5, 1.0), (8, 1.0, 1.0), (4, 0.5, 0.9), (2, 3.0, 1.1), (40, 1.0, 1.0)]
)
def test_the_grid_is_the_original_s(size: int, k: int, s: float, rescale: float) -> None:
    attack = drawn((3, size, size), seed=4, strength=s, grid=k, scale=rescale)
    ins = torch.rand(1, 2, k, k, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(attack.warping_grid[None], original_grid(ins, size, s, rescale), atol=1e-6, rtol=0)
    assert float(attack.warping_grid.abs().max()) <= 1


@pytest.mark.parametrize("shape", SHAPES)
def test_the_trigger_is_the_original_s(shape: tuple[int, int, int]) -> None:
    attack, image = drawn(shape, seed=2), random_images(3, shape)
    before, out = image.clone(), attack.trigger(image)
    ins = torch.rand(1, 2, 4, 4, generator=torch.Generator().manual_seed(2))
    assert_rounded(out, original_warp(before, original_grid(ins, shape[1], 0.5, 1.0)))
    assert torch.equal(image, before)
    assert not torch.equal(out, before)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (2, 5, 9)])
def test_the_warp_is_a_loop_over_pixels(shape: tuple[int, int, int]) -> None:
    attack, image = drawn(shape, strength=2.0), random_images(2, shape)
    for one, out in zip(image, attack.trigger(image), strict=True):
        assert_rounded(out, looped_warp(one, attack.warping_grid))


def test_no_field_is_no_warp_and_an_even_image_stays_even() -> None:
    image = random_images(2, (3, 32, 32))
    assert torch.equal(warp(image, warp_grid(torch.ones(2, 4, 4), 32, 32, strength=0.0)), image)
    for level in (0, 1, 77, 255):
        even = torch.full((1, 3, 32, 32), level, dtype=torch.uint8)
        assert torch.equal(drawn().trigger(even), even)


def test_x_moves_along_the_width() -> None:
    control = torch.stack((torch.ones(4, 4), torch.zeros(4, 4)))  # mean absolute value 1/2: the field is 2 along x
    grid = warp_grid(control, 5, 9, strength=9 / 8)  # 2 * 9/8 / 9 = 1/4, one of eight steps from -1 to 1
    image = random_images(1, (1, 5, 9))
    shifted = torch.cat((image[..., 1:], image[..., -1:]), -1)
    assert torch.equal(warp(image, grid), shifted)


def test_pixels_move_by_a_fraction_of_a_pixel() -> None:
    grid = drawn().warping_grid
    still = warp_grid(torch.ones(2, 4, 4), 32, 32, strength=0.0)
    pixels = (grid - still).abs() * 31 / 2
    assert 0.15 < float(pixels.mean()) < 0.3
    assert float(pixels.max()) < 1


def test_jitter_is_the_original_s_noise_mode() -> None:
    grid = drawn((1, 8, 8)).warping_grid
    out = jitter(grid, 5, torch.Generator().manual_seed(3))
    ins = torch.rand(5, 8, 8, 2, generator=torch.Generator().manual_seed(3)) * 2 - 1
    torch.testing.assert_close(out, torch.clamp(grid.repeat(5, 1, 1, 1) + ins / 8, -1, 1), atol=1e-6, rtol=0)
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("noise", ["per_sample", "shared"])
def test_cover_images(noise: Any) -> None:
    image = random_images(1, (3, 8, 8)).expand(1000, -1, -1, -1)  # all alike: what differs is the warp
    attack = WaNet(poison_rate=0.1, cover_rate=0.2, noise=noise, target=3)
    result = attack.poison(image, LABELS, ALL, 10, seed=5)
    poison, cover = result.role == POISON, result.role == COVER
    assert (int(poison.sum()), int(cover.sum()), int((result.role == CLEAN).sum())) == (100, 200, 700)
    assert torch.equal(result.image[poison], attack.trigger(image[poison]))
    assert torch.equal(result.image[result.role == CLEAN], image[result.role == CLEAN])
    assert torch.equal(result.label[~poison], LABELS[~poison])
    assert bool((result.label[poison] == 3).all())
    assert bool((LABELS[cover] == 3).any())  # the target's own images may be covers
    assert len(result.image[cover].unique(dim=0)) == (1 if noise == "shared" else 200)
    assert not torch.equal(result.image[cover][0], attack.trigger(image[:1])[0])
    counts = attack.counts(result)
    assert (counts["poisoned"], counts["cover"]) == (100, 200)
    assert attack.describe_counts(result).endswith("200 cover images")


@pytest.mark.parametrize("noise", ["per_sample", "shared"])
def test_cover_images_lie_within_a_jitter_of_the_trigger(noise: Any) -> None:
    """On an image that is its own coordinates, a warped pixel tells where it came from."""
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8)  # 8 levels a pixel, along x and along y
    image = torch.stack((ramp.expand(32, 32), ramp[:, None].expand(32, 32)))[None].expand(1000, -1, -1, -1)
    attack = WaNet(class_rate=0.1, cover_rate=0.1, noise=noise)
    result = attack.poison(image, LABELS, ALL, 10, seed=1)
    moved = result.image[result.role == COVER].double() - attack.trigger(image[:1]).double()
    half_a_pixel = 8 * 31 / 2 / 32
    assert float(moved.abs().max()) <= half_a_pixel + 1
    assert abs(float(moved.mean())) < 0.5
    assert abs(float(moved.std()) - half_a_pixel / math.sqrt(3)) < 0.3


def test_covers_leave_poison_and_trigger_as_they_are() -> None:
    image = random_images(1000, (1, 8, 8))
    alone, covered = WaNet(class_rate=0.1), WaNet(class_rate=0.1, cover_rate=0.3)
    first, second = (attack.poison(image, LABELS, ALL, 10, seed=8) for attack in (alone, covered))
    assert torch.equal(alone.warping_grid, covered.warping_grid)
    assert torch.equal(first.role == POISON, second.role == POISON)
    assert not bool((first.role == COVER).any())
    assert torch.equal(first.image[first.role == POISON], second.image[second.role == POISON])


def test_covers_in_the_unlabeled_part_stay_unlabeled() -> None:
    given = torch.arange(1000) % 4 < 1
    result = WaNet(class_rate=0.1, cover_rate=0.1).poison(random_images(1000, (1, 8, 8)), LABELS, given, 10, seed=0)
    cover = result.role == COVER
    assert (int((cover & given).sum()), int((cover & ~given).sum())) == (25, 75)
    assert bool((result.label[cover & ~given] == -1).all())
    assert torch.equal(result.label[cover & given], LABELS[cover & given])


def test_a_seed_decides_everything() -> None:
    image = random_images(1000, (1, 8, 8))
    before = image.clone()
    first, again, other = (
        WaNet(class_rate=0.1, cover_rate=0.1).poison(image, LABELS, ALL, 10, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.role, again.role)
    assert not torch.equal(first.image, other.image)
    assert torch.equal(image, before)


def test_many_images_are_the_same_as_few() -> None:
    attack, image = drawn((1, 8, 8)), random_images(1030, (1, 8, 8))
    assert torch.equal(attack.trigger(image)[1020:], attack.trigger(image[1020:]))
    assert attack.trigger(image[:0]).shape == (0, 1, 8, 8)
    covers = WaNet(count=0, cover_rate=0.9)
    many = image.repeat(2, 1, 1, 1)
    result = covers.poison(many, torch.zeros(2060).long(), torch.ones(2060, dtype=torch.bool), 10, seed=0)
    assert int((result.image != many).flatten(1).any(1).sum()) == int((result.role == COVER).sum()) == 1854


def test_state_dict_brings_the_same_triggered_test_set(tmp_path: Path) -> None:
    attack, fresh = drawn(seed=9), WaNet(class_rate=0.1)
    torch.save(attack.state_dict(), tmp_path / "trigger.pt")
    fresh.load_state_dict(torch.load(tmp_path / "trigger.pt", weights_only=True))
    test = random_images(5, (3, 32, 32))
    assert torch.equal(fresh.trigger(test), attack.trigger(test))
    assert not torch.equal(drawn(seed=10).trigger(test), attack.trigger(test))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 0.0}, "strength is a number above 0, not 0.0"),
        ({"scale": -1.0}, "scale is a number above 0, not -1.0"),
        ({"grid": 1}, "grid is the number of control points a side, at least 2, not 1"),
        ({"cover_rate": 2.0}, "cover_rate is a fraction between 0 and 1, not 2.0"),
        ({"noise": "each"}, "noise is one of per_sample, shared, not 'each'"),
        ({"count": 3}, "WaNet takes exactly one of count=3"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WaNet(**{"class_rate": 0.1, **arguments})


def test_wrong_for_this_data() -> None:
    with pytest.raises(ValueError, match=r"cover_rate=0.95 asks for 950 labeled cover images, but only 910 are not"):
        WaNet(class_rate=0.1, cover_rate=0.95).poison(random_images(1000, (1, 8, 8)), LABELS, ALL, 10, 0)
    with pytest.raises(ValueError, match=r"drawn for images of \(32, 32\) \(height, width\), not of \(28, 28\)"):
        drawn().trigger(random_images(1, (3, 28, 28)))
    with pytest.raises(ValueError, match="WaNet has no trigger yet"):
        WaNet(count=1).trigger(random_images(1, (1, 8, 8)))
