"""The augmentations of Figure 1 of Pal et al. 2023 against torchvision, Kornia, loops and closed forms."""

from collections.abc import Callable

import pytest
import torch
from kornia.augmentation import RandomGaussianNoise, RandomHorizontalFlip, RandomVerticalFlip
from kornia.geometry.transform import hflip, vflip
from torch import Tensor, nn
from torchvision.transforms import ColorJitter as TorchvisionJitter
from torchvision.transforms import functional as tv

from cleanse.augment import YOCO, ColorJitter, RandomCropScaled, named, variants

NAMES = (
    "HFlip",
    "VFlip",
    "Rot45",
    "GNoise0.5",
    "GrSc",
    "CJ",
    "GBlur_3_1.0",
    "CutOut",
    "RCS0.5",
    "RCS0.5area",
    "YOCO_H(RCS0.5)",
)


def made(name: str) -> nn.Module:
    return named(name).module


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_range_are_kept(name: str, channels: int) -> None:
    image = torch.rand(8, channels, 12, 10)
    original = image.clone()
    out = made(name)(image)
    assert out.shape == image.shape
    assert out.dtype == image.dtype
    assert out.min() >= 0
    assert out.max() <= 1
    assert image.equal(original)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_be_empty(name: str) -> None:
    assert made(name)(torch.zeros(0, 3, 12, 10)).shape == (0, 3, 12, 10)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_repeats_it_and_the_memory_format_makes_no_difference(name: str) -> None:
    image = torch.rand(8, 3, 12, 10)
    torch.manual_seed(3)
    out = made(name)(image)
    torch.manual_seed(3)
    torch.testing.assert_close(made(name)(image.contiguous(memory_format=torch.channels_last)), out)


@pytest.mark.parametrize("name", NAMES)
def test_whether_it_draws_anything(name: str) -> None:
    """For every image, and anew at every call."""
    module, stochastic = named(name)
    image = torch.rand(1, 3, 12, 10).expand(8, 3, 12, 10).contiguous()
    out = module(image)
    assert module(image).equal(out) is not stochastic
    assert out.equal(out[:1].expand_as(out)) is not stochastic


CLOSED = {
    "HFlip": hflip,
    "VFlip": vflip,
    "VFlip+VFlip": lambda image: image,
    "GBlur_5_0.7": lambda image: tv.gaussian_blur(image, [5, 5], [0.7, 0.7]),
    "GrSc": lambda image: tv.rgb_to_grayscale(image, 3),
    "Rot90": lambda image: image.rot90(1, (2, 3)),
    "Rot-90": lambda image: image.rot90(-1, (2, 3)),
}


@pytest.mark.parametrize("name", CLOSED)
def test_the_deterministic_ones_are_torchvisions(name: str) -> None:
    image = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(made(name)(image), CLOSED[name](image), atol=2e-4, rtol=0)


def test_a_rotation_is_torchvisions_but_for_what_it_does_at_the_edge() -> None:
    image = torch.rand(3, 3, 8, 8)
    rotated = tv.rotate(image, 30, tv.InterpolationMode.BILINEAR)
    torch.testing.assert_close(made("Rot30")(image)[..., 2:6, 2:6], rotated[..., 2:6, 2:6], atol=1e-4, rtol=0)


def test_gray_images_stay_as_they_are() -> None:
    image = torch.rand(3, 1, 8, 8)
    assert made("GrSc")(image).equal(image)


def test_noise_has_the_variance_of_its_name() -> None:
    noise = made("GNoise0.01")(torch.full((100, 1, 20, 20), 0.5)) - 0.5
    assert noise.mean().item() == pytest.approx(0, abs=0.002)
    assert noise.var().item() == pytest.approx(0.01, rel=0.03)


@pytest.mark.parametrize("end", [0, 1])
def test_noise_is_clipped(end: int) -> None:
    clipped = made("GNoise1.0")(torch.full((100, 1, 20, 20), 0.5))
    expected = torch.distributions.Normal(0, 1).cdf(torch.tensor(-0.5)).item()
    assert (clipped == end).float().mean().item() == pytest.approx(expected, abs=0.01)


def test_jitter_draws_its_strength_and_then_a_factor_around_one() -> None:
    """Of gray 0.5, the brightness is the factor's half: 1 + x u with x in 0.4 to 0.8 and u in -1 to 1."""
    nothing = (0.0, 0.0)
    half = torch.full((20_000, 3, 1, 1), 0.5)
    factor = 2 * ColorJitter(contrast=nothing, saturation=nothing, hue=nothing)(half)[:, 0, 0, 0]
    assert factor.min() == pytest.approx(0.2, abs=0.03)
    assert factor.max() == pytest.approx(1.8, abs=0.03)
    assert factor.mean().item() == pytest.approx(1.0, abs=0.01)
    assert factor.var().item() == pytest.approx((0.8**3 - 0.4**3) / (3 * 0.4) / 3, rel=0.04)


@pytest.mark.parametrize("strength", [0.4, 0.8])
def test_jitter_leaves_the_contrast_of_images_as_torchvision_does(strength: float) -> None:
    image = torch.rand(2000, 3, 8, 8)
    fixed = (strength, strength)
    ours = ColorJitter(fixed, fixed, fixed, (strength / 4, strength / 4))(image).std((1, 2, 3)).mean()
    torchvision = TorchvisionJitter(strength, strength, strength, strength / 4)
    theirs = torch.stack([torchvision(one) for one in image]).std((1, 2, 3)).mean()
    assert ours.item() == pytest.approx(theirs.item(), rel=0.03)


def test_jitter_changes_brightness_and_contrast_of_gray_images_only() -> None:
    nothing = (0.0, 0.0)
    image = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(ColorJitter(nothing, nothing)(image), image)


def test_cutout_covers_half_the_side_and_stays_inside() -> None:
    covered = made("CutOut")(torch.ones(6000, 1, 6, 6))[:, 0] == 0
    assert set(covered.sum((1, 2)).tolist()) == {9}
    assert covered[:, 0, 0].float().mean().item() == pytest.approx(1 / 16, abs=0.015)  # one place of 4 x 4


def test_crop_is_torchvisions_resized_crop_at_every_place() -> None:
    image = torch.rand(1, 3, 6, 6)
    possible = [tv.resized_crop(image, y, x, 3, 3, [6, 6], antialias=False)[0] for y in range(4) for x in range(4)]
    out = RandomCropScaled(0.5, "side")(image.expand(800, 3, 6, 6))
    which = [[torch.allclose(o, p, atol=1e-5) for p in possible].index(True) for o in out]
    counts = torch.tensor(which).bincount(minlength=16)
    assert counts.min() > 20
    assert counts.max() < 85  # 50 each; five standard deviations


def test_crop_sides_and_identity() -> None:
    image = torch.rand(2, 3, 32, 32)
    assert RandomCropScaled(0.5, "side").crop(32, 32) == (16, 16)
    assert RandomCropScaled(0.5, "area").crop(32, 32) == (23, 23)
    for reading in ("area", "side"):
        assert RandomCropScaled(1.0, reading)(image).equal(image)
        assert RandomCropScaled(0.5, reading)(image).shape == image.shape


@pytest.mark.parametrize(
    "reading, first, expected", [("area", 27, 0.25), ("side", 27, 0.087), ("area", 24, 0.64), ("side", 24, 0.22)]
)
def test_how_many_crops_touch_a_trigger(reading: str, first: int, expected: float) -> None:
    """A 5x5 trigger at rows and columns 27-31 or, inset by 3 pixels, 24-28; over all offsets."""
    side = RandomCropScaled(0.5, reading).crop(32, 32)[0]  # type: ignore[arg-type]
    offsets = range(32 - side + 1)
    hit = [
        y + side > first and y <= first + 4 and x + side > first and x <= first + 4 for y in offsets for x in offsets
    ]
    assert sum(hit) / len(hit) == pytest.approx(expected, abs=0.005)


def test_the_module_touches_the_trigger_as_often() -> None:
    image = torch.zeros(4000, 1, 32, 32)
    image[..., 24:29, 24:29] = 1
    touched = (RandomCropScaled(0.5, "side")(image) > 0).flatten(1).any(1)
    assert touched.float().mean().item() == pytest.approx(64 / 289, abs=0.03)


@pytest.mark.parametrize(("axis", "inner", "dim"), [("width", "HFlip", 3), ("height", "VFlip", 2)])
def test_yoco_augments_the_halves_by_themselves(axis: str, inner: str, dim: int) -> None:
    image = torch.rand(2, 3, 7, 7)
    mirror = hflip if inner == "HFlip" else vflip
    expected = torch.cat([mirror(half) for half in image.split([3, 4], dim)], dim)
    assert YOCO(made(inner), axis)(image).equal(expected)  # type: ignore[arg-type]


def test_yoco_draws_for_each_half() -> None:
    noisy = YOCO(made("GNoise0.2"), "width")(torch.full((1, 1, 4, 4), 0.5))
    assert not noisy[..., :2].equal(noisy[..., 2:])


def test_yoco_refuses_what_changes_the_size() -> None:
    with pytest.raises(ValueError, match="changes the size"):
        YOCO(nn.AvgPool2d(2), "width")(torch.rand(1, 1, 4, 4))


def test_a_plus_joins_from_left_to_right() -> None:
    assert [type(m) for m in made("RCS0.5 + VFlip")] == [RandomCropScaled, RandomVerticalFlip]  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "reading"), [("RCS0.25", "side"), ("RCS0.25area", "area"), ("RCS0.25side", "side")])
def test_how_a_crop_is_read(name: str, reading: str) -> None:
    assert (made(name).share, made(name).reading) == (0.25, reading)


def test_names_inside_yoco() -> None:
    nested = made("YOCO_H(CJ+HFlip)")
    assert nested.axis == "height"
    assert [type(m) for m in nested.inner] == [ColorJitter, RandomHorizontalFlip]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("GNoise", ("GNoise0.2", "GNoise0.5", "GNoise0.7", "GNoise1.0")),
        ("YOCO(HFlip)+VFlip", ("YOCO_W(HFlip)+VFlip", "YOCO_H(HFlip)+VFlip")),
        ("HFlip", ("HFlip",)),
    ],
)
def test_what_is_averaged_under_one_name(name: str, expected: tuple[str, ...]) -> None:
    assert variants(name) == expected


def test_no_augmentation() -> None:
    image = torch.rand(1, 1, 4, 4)
    assert made("NoAug")(image).equal(image)


def test_noise_is_kornias() -> None:
    assert isinstance(made("GNoise0.7")[0], RandomGaussianNoise)  # type: ignore[index]


@pytest.mark.parametrize(
    "name, why",
    [
        ("VFlp", r"no augmentation 'VFlp'.*did you mean VFlip.*GNoise.*RCS0\.5"),
        ("", "no augmentation ''"),
        ("HFlip+", "no augmentation ''"),
        ("RCS0", "share is the part"),
        ("RCS1.5", "share is the part"),
        ("GBlur_4_1.0", "an odd number of pixels"),
        ("GBlur_3_0", "a standard deviation above 0"),
        ("GNoise", "stands for GNoise0.2"),
        ("YOCO(HFlip)", "stands for YOCO_W"),
        ("YOCO_W(HFlip", "parentheses"),
        ("YOCO_W(Flap)", "no augmentation 'Flap'"),
    ],
)
def test_refuses_other_names(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        named(name)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda: ColorJitter(brightness=(0.8, 0.4)), "brightness is two strengths"),
        (lambda: ColorJitter(hue=(0.4, 0.6)), "hue is two strengths"),
        (lambda: ColorJitter()(torch.rand(1, 2, 4, 4)), r"1 channel \(gray\) or 3"),
        (lambda: YOCO(nn.Identity(), "depth"), "axis is one of height, width"),  # type: ignore[arg-type]
        (lambda: RandomCropScaled(0.5, "edge"), "reading is one of area, side"),  # type: ignore[arg-type]
        (lambda: YOCO(nn.Identity())(torch.rand(1, 1, 4, 1)), "cannot be cut"),
    ],
)
def test_refuses_wrong_arguments(wrong: Callable[[], Tensor], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        wrong()
