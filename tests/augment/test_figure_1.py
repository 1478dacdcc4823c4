"""The augmentations of Figure 1 of Pal et al. 2023 against torchvision, Kornia, loops and closed forms."""

import pytest
import torch
from kornia.geometry.transform import hflip, vflip
from torch import nn
from torchvision.transforms import functional as tv

from cleanse.augment import (
    YOCO,
    ColorJitter,
    CutOut,
    GaussianBlur,
    GaussianNoise,
    Grayscale,
    HorizontalFlip,
    RandomCropScaled,
    Rotate,
    VerticalFlip,
    adjust_color,
    named,
    variants,
)

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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_format_range_and_seed(name: str, channels: int) -> None:
    module, stochastic = named(name)
    image = torch.rand(1, channels, 12, 10).expand(8, channels, 12, 10).contiguous()
    original = image.clone()
    torch.manual_seed(3)
    out = module(image)
    torch.manual_seed(3)
    last = module(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(last, out)
    assert last.is_contiguous(memory_format=torch.channels_last) and image.equal(original)
    assert (out.shape, module(image.bfloat16()).dtype) == (image.shape, torch.bfloat16)
    assert out.min() >= 0 and out.max() <= 1
    assert module(image).equal(out) is not stochastic  # the next draw is another
    assert out.equal(out[:1].expand_as(out)) is not stochastic  # and so is the next image's
    assert module(image[:0]).shape == (0, channels, 12, 10)
    with pytest.raises(ValueError, match="batch"):
        module(image[0])


def test_the_deterministic_ones_are_torchvisions_and_kornias() -> None:
    image = torch.rand(3, 3, 9, 8)
    assert HorizontalFlip()(image).equal(hflip(image))
    assert VerticalFlip()(image).equal(vflip(image))
    assert VerticalFlip()(VerticalFlip()(image)).equal(image)  # an involution
    torch.testing.assert_close(GaussianBlur(5, 0.7)(image), tv.gaussian_blur(image, [5, 5], [0.7, 0.7]))
    torch.testing.assert_close(Grayscale()(image), tv.rgb_to_grayscale(image, 3))
    assert Grayscale()(image[:, :1]).equal(image[:, :1])
    square = image[..., :8, :]
    torch.testing.assert_close(Rotate(90)(square), square.rot90(1, (2, 3)))
    rotated = tv.rotate(square, 30, tv.InterpolationMode.BILINEAR)
    torch.testing.assert_close(Rotate(30)(square)[..., 2:6, 2:6], rotated[..., 2:6, 2:6], atol=1e-4, rtol=0)


def test_noise_has_the_variance_and_is_clipped() -> None:
    gray = torch.full((100, 1, 20, 20), 0.5)
    noise = GaussianNoise(0.01)(gray) - 0.5
    assert noise.mean().item() == pytest.approx(0, abs=0.002) and noise.var().item() == pytest.approx(0.01, rel=0.03)
    clipped = GaussianNoise(1.0)(gray)
    expected = torch.distributions.Normal(0, 1).cdf(torch.tensor(-0.5)).item()
    for end in (0, 1):
        assert (clipped == end).float().mean().item() == pytest.approx(expected, abs=0.01)


def test_jitter_draws_each_factor_from_its_range() -> None:
    one, zero = (1, 1), (0, 0)
    dark = ColorJitter(contrast=one, saturation=one, hue=zero)(torch.ones(4000, 3, 1, 1))[:, 0, 0, 0]
    assert 0.4 <= dark.min() < 0.41 and 0.79 < dark.max() <= 0.8 and dark.mean().item() == pytest.approx(0.6, abs=0.01)
    image, fixed = torch.rand(4, 3, 5, 5), ColorJitter((0.5, 0.5), (1, 1), (0.7, 0.7), (0.15, 0.15))
    possible = [
        adjust_color(image, *(torch.full((4,), v) for v in (0.5, 1.0, 0.7, 0.15)), torch.tensor([order]).expand(4, 4))
        for order in torch.cartesian_prod(*[torch.arange(4)] * 4).tolist()
        if sorted(order) == [0, 1, 2, 3]
    ]
    out = fixed(image)
    for i in range(4):
        assert any(torch.allclose(out[i], p[i], atol=1e-6) for p in possible)


def test_cutout_covers_what_a_loop_covers_every_center_alike() -> None:
    covered = CutOut(0.5)(torch.ones(6000, 1, 6, 6))[:, 0] == 0
    expected = torch.zeros(6, 6)
    for y in range(6):
        for x in range(6):
            expected[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] += 1 / 36
    torch.testing.assert_close(covered.float().mean(0), expected, atol=0.025, rtol=0)
    assert set(covered.sum((1, 2)).tolist()) == {4, 6, 9}  # a corner's, an edge's, a whole square


def test_crop_is_torchvisions_resized_crop_at_every_place() -> None:
    image = torch.rand(1, 3, 6, 6)
    possible = [tv.resized_crop(image, y, x, 3, 3, [6, 6], antialias=False)[0] for y in range(4) for x in range(4)]
    out = RandomCropScaled(0.5, "side")(image.expand(800, 3, 6, 6))
    which = [[torch.allclose(o, p, atol=1e-5) for p in possible].index(True) for o in out]
    counts = torch.tensor(which).bincount(minlength=16)
    assert counts.min() > 20 and counts.max() < 85  # 50 each; five standard deviations


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


def test_yoco_augments_the_halves_by_themselves() -> None:
    image = torch.rand(2, 3, 6, 7)
    across = YOCO(HorizontalFlip(), "width")(image)
    assert across.equal(torch.cat([hflip(image[..., :3]), hflip(image[..., 3:])], 3))
    along = YOCO(VerticalFlip(), "height")(image)
    assert along.equal(torch.cat([vflip(image[..., :3, :]), vflip(image[..., 3:, :])], 2))
    torch.manual_seed(0)
    noisy = YOCO(GaussianNoise(0.2), "width")(torch.full((1, 1, 4, 4), 0.5))
    assert not noisy[..., :2].equal(noisy[..., 2:])
    with pytest.raises(ValueError, match="changes the size"):
        YOCO(nn.AvgPool2d(2), "width")(torch.rand(1, 1, 4, 4))


def test_names() -> None:
    both, stochastic = named("RCS0.5 + VFlip")
    assert stochastic and [type(m) for m in both] == [RandomCropScaled, VerticalFlip]  # type: ignore[arg-type]
    assert both[0].reading == "side" and named("RCS0.25area").module.reading == "area"  # type: ignore[index]
    assert named("GNoise0.7").module.variance == 0.7 and named("Rot-15").module.angle == -15
    blur = named("GBlur_5_.5").module
    assert (blur.kernel, blur.sigma) == (5, 0.5) and not named("GBlur_5_.5").stochastic
    nested = named("YOCO_H(CJ+HFlip)").module
    assert nested.axis == "height" and isinstance(nested.inner, nn.Sequential)
    assert variants("GNoise") == ("GNoise0.2", "GNoise0.5", "GNoise0.7", "GNoise1.0")
    assert variants("YOCO(HFlip)+VFlip") == ("YOCO_W(HFlip)+VFlip", "YOCO_H(HFlip)+VFlip")
    image = torch.rand(1, 1, 4, 4)
    assert named("NoAug").module(image).equal(image)


@pytest.mark.parametrize(
    "name, why",
    [
        ("VFlp", r"no augmentation 'VFlp'.*did you mean VFlip.*GNoise.*RCS0\.5"),
        ("", "no augmentation ''"),
        ("HFlip+", "no augmentation ''"),
        ("RCS0", "share is the part"),
        ("RCS1.5", "share is the part"),
        ("GBlur_4_1.0", "kernel is an odd number"),
        ("GNoise", "stands for GNoise0.2"),
        ("YOCO(HFlip)", "stands for YOCO_W"),
        ("YOCO_W(HFlip", "parentheses"),
        ("YOCO_W(Flap)", "no augmentation 'Flap'"),
    ],
)
def test_refuses_other_names(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        named(name)


def test_refuses_wrong_arguments() -> None:
    for wrong, why in (
        (lambda: GaussianNoise(-1), "variance is 0 or more"),
        (lambda: CutOut(0), "share is a part"),
        (lambda: GaussianBlur(3, 0), "sigma is a standard deviation"),
        (lambda: GaussianBlur(9)(torch.rand(1, 1, 4, 4)), "too wide"),
        (lambda: ColorJitter(brightness=(0.8, 0.4)), "brightness is two factors"),
        (lambda: ColorJitter(hue=(0.4, 0.6)), "hue is two shifts"),
        (lambda: YOCO(nn.Identity(), "depth"), "axis is height or width"),  # type: ignore[arg-type]
        (lambda: RandomCropScaled(0.5, "edge"), "reading is area or side"),  # type: ignore[arg-type]
        (lambda: YOCO(nn.Identity())(torch.rand(1, 1, 4, 1)), "cannot be cut"),
    ):
        with pytest.raises(ValueError, match=why):
            wrong()
