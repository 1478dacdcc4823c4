"""SimCLR's augmentation has the distribution of torchvision's and Kornia's transforms, applied image by image."""

import inspect
from typing import Any

import kornia.augmentation as K
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torchvision import transforms
from torchvision.transforms.functional import InterpolationMode, rotate

from cleanse.augment import SimCLRAugment, gaussian_blur

DRAWS = 800  # by torchvision; four times as many by us
CHANCE = 4.8  # standard errors; some 150 statistics of three images are compared
NOTHING: dict[str, Any] = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "jitter": 0.0, "gray": 0.0}
CROP = transforms.RandomResizedCrop(16, (0.2, 1.0), antialias=True)
JITTER = transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8)
PAIRS = {
    "geometry": (
        SimCLRAugment(jitter=0, gray=0),
        transforms.Compose([CROP, transforms.RandomHorizontalFlip()]),
    ),
    "rotation": (
        SimCLRAugment(scale=(1.0, 1.0), ratio=(1.0, 1.0), rotation=30, flip=0.2, jitter=0, gray=0),
        transforms.Compose([transforms.RandomHorizontalFlip(0.2), lambda image: _rotated(image, 30)]),
    ),
    "color": (
        SimCLRAugment(scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0),
        transforms.Compose([JITTER, transforms.RandomGrayscale(0.2)]),
    ),
    "strong color": (  # factors from 0 and past the clamp
        SimCLRAugment(
            scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0,
            brightness=1.2, contrast=1.2, saturation=1.2, hue=0.5, jitter=1, gray=0,
        ),
        transforms.ColorJitter(1.2, 1.2, 1.2, 0.5),
    ),
    "all": (
        SimCLRAugment(),
        transforms.Compose([CROP, transforms.RandomHorizontalFlip(), JITTER, transforms.RandomGrayscale(0.2)]),
    ),
}  # fmt: skip

KORNIA = nn.Sequential(
    K.RandomResizedCrop((16, 16), (0.2, 1.0), align_corners=False),
    K.RandomHorizontalFlip(p=0.5),
    K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
    K.RandomGrayscale(p=0.2),
)


def _rotated(image: Tensor, most: float) -> Tensor:
    """``RandomRotation`` without what its ``fill`` does to the edge: zeros count twice there."""
    return rotate(image, float(torch.empty(1).uniform_(-most, most)), InterpolationMode.BILINEAR)


def _natural(channels: int) -> Tensor:
    """Three smooth random fields (3, C, 16, 16) in [0, 1]; one pale, one of full contrast, one with an edge."""
    coarse = torch.rand(3, channels, 5, 5, generator=torch.Generator().manual_seed(3))
    image = F.interpolate(coarse, (16, 16), mode="bicubic", align_corners=True).clamp(0, 1)
    image[0] = 0.5 + 0.3 * (image[0] - 0.5)
    image[1] = ((image[1] - 0.5) * 2 + 0.5).clamp(0, 1)
    image[2, :, :, 11:] *= 0.2
    return image


def _statistics(image: Tensor) -> Tensor:
    """(n, C, H, W) to (n, k): pixels, and of each image mean and spread by channel, color and slopes."""
    flat = image.flatten(2)
    mean, std = flat.mean(2), flat.std(2)
    across = (flat[:, :1] * flat[:, 1:]).mean(2)
    slope = torch.stack([image.diff(dim=d).abs().mean((1, 2, 3)) for d in (2, 3)], 1)
    signed = torch.stack([image.diff(dim=d).mean((1, 2, 3)) for d in (2, 3)], 1)
    chroma = (image.amax(1) - image.amin(1)).mean((1, 2))[:, None]
    whole = torch.cat([mean, std, across, chroma, slope, signed], 1)
    return torch.cat([whole, whole**2, whole[:, :1] * whole, F.avg_pool2d(image, 2).flatten(1)], 1).double()


def _errors(sample: Tensor, reference: Tensor) -> Tensor:
    """By how many standard errors the means (n, k) and the mean squares about the reference's mean differ: (2, k)."""
    middle, apart = reference.mean(0), []
    for a, b in ((sample, reference), ((sample - middle) ** 2, (reference - middle) ** 2)):
        error = (a.var(0) / len(a) + b.var(0) / len(b)).sqrt()
        apart.append((a.mean(0) - b.mean(0)).abs() / (error + 1e-6))
    return torch.stack(apart)


@pytest.mark.parametrize(
    ("part", "channels"),
    [("geometry", 3), ("rotation", 1), ("color", 3), ("color", 1), ("strong color", 3), ("all", 3)],
)
def test_the_distribution_is_torchvisions(part: str, channels: int) -> None:
    ours, theirs = PAIRS[part]
    for image in _natural(channels):
        sample = _statistics(ours(image.expand(4 * DRAWS, *image.shape)))
        reference = _statistics(torch.stack([theirs(image) for _ in range(DRAWS)]))
        assert _errors(sample, reference).max() < CHANCE


def test_the_distribution_is_kornias() -> None:
    """One image at a time: Kornia draws the order of the four color operations for the batch."""
    for image in _natural(3):
        sample = _statistics(SimCLRAugment()(image.expand(4 * DRAWS, *image.shape)))
        reference = _statistics(torch.cat([KORNIA(image[None]) for _ in range(DRAWS // 2)]))
        assert _errors(sample, reference).max() < CHANCE


@pytest.mark.parametrize(
    ("part", "wrong"),
    [
        ("geometry", {"scale": (0.3, 1.0)}),
        ("geometry", {"ratio": (0.5, 2.0)}),
        ("geometry", {"flip": 0.35}),
        ("color", {"brightness": 0.3}),
        ("color", {"contrast": 0.3}),
        ("color", {"saturation": 0.8}),
        ("color", {"hue": 0.08}),
        ("color", {"gray": 0.1}),
        ("color", {"jitter": 0.6}),
    ],
)
def test_the_statistics_notice_a_wrong_argument(part: str, wrong: dict[str, Any]) -> None:
    right = PAIRS[part][0]
    arguments = {n: getattr(right, n) for n in inspect.signature(SimCLRAugment).parameters} | wrong
    most = 0.0
    for image in _natural(3):
        sample = _statistics(right(image.expand(4 * DRAWS, *image.shape)))
        other = _statistics(SimCLRAugment(**arguments)(image.expand(DRAWS, *image.shape)))
        most = max(most, float(_errors(sample, other).max()))
    assert most > CHANCE


@pytest.mark.parametrize(("argument", "share"), [({"flip": 0.3}, 0.3), ({"gray": 0.3}, 0.3), ({"jitter": 0.3}, 0.3)])
def test_each_part_comes_with_its_probability(argument: dict[str, float], share: float) -> None:
    image = _natural(3)[:1].expand(4000, 3, 16, 16)
    changed = (SimCLRAugment(**{**NOTHING, **argument})(image) - image).abs().amax((1, 2, 3)) > 1e-4
    assert changed.float().mean() == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)
    assert (changed[1:] & changed[:-1]).float().mean() == pytest.approx(share**2, abs=0.03)  # one by one


def test_blur_comes_with_its_probability_and_a_uniform_sigma() -> None:
    point = torch.zeros(4000, 1, 7, 7)
    point[:, :, 3, 3] = 1
    expected = gaussian_blur(point, torch.linspace(0.1, 2, 4000), 3)[:, 0, 3, 3].flip(0)
    drawn = SimCLRAugment(**{**NOTHING, "blur": 1.0})(point)[:, 0, 3, 3].sort().values
    rank = torch.searchsorted(expected, drawn) / 4000  # uniform
    assert (rank - torch.linspace(0, 1, 4000)).abs()[drawn < 0.99].max() < 1.95 / 4000**0.5  # p = 0.001
    some = SimCLRAugment(**{**NOTHING, "blur": 0.3})(point)[:, 0, 3, 3]
    assert (some < expected[2000]).float().mean() == pytest.approx(0.15, abs=0.023)  # sigma above its median


def test_without_any_part_it_is_the_identity() -> None:
    image = torch.rand(4, 3, 9, 7)
    augment = SimCLRAugment(**{**NOTHING, "ratio": (7 / 9, 7 / 9)})
    torch.testing.assert_close(augment(image), image, rtol=0, atol=1e-5)


def test_digits_are_cropped_and_rotated_only() -> None:
    from sklearn.datasets import load_digits

    image = torch.tensor(load_digits().images[:64], dtype=torch.float32)[:, None] / 16
    out = SimCLRAugment(rotation=10, flip=0, jitter=0, gray=0)(image)
    assert out.shape == (64, 1, 8, 8)
    assert not out.equal(image)
    assert SimCLRAugment(blur=1.0)(image).std() > 0.1


def test_one_channel_has_no_saturation_hue_or_gray() -> None:
    image = torch.rand(32, 1, 8, 8)
    augment = SimCLRAugment(**{**NOTHING, "brightness": 0, "contrast": 0, "hue": 0.5, "jitter": 1, "gray": 1})
    torch.testing.assert_close(augment(image), image, rtol=0, atol=1e-5)


def test_two_channels_can_be_cropped_but_not_colored() -> None:
    image = torch.rand(4, 2, 8, 8)
    assert SimCLRAugment(jitter=0, gray=0)(image).shape == image.shape
    with pytest.raises(ValueError, match=r"1 channel \(gray\) or 3"):
        SimCLRAugment()(image)


def test_autocast_makes_no_difference() -> None:
    image, augment = torch.rand(16, 3, 12, 12), SimCLRAugment(rotation=10, blur=0.5)
    torch.manual_seed(1)
    expected = augment(image)
    torch.manual_seed(1)
    with torch.autocast("cpu", torch.bfloat16):
        assert augment(image).equal(expected)


class _OneDevice(TorchDispatchMode):
    """Refuses operations that take a tensor of the host: copying it to a device would wait for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        assert all(x.is_meta for x in tensors), f"{func} takes a tensor of the host"
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device() -> None:
    """On the meta device a tensor has no value: whatever asks for one fails there."""
    augment = SimCLRAugment(rotation=10, blur=0.5)
    with _OneDevice():
        for channels in (1, 3):
            assert augment(torch.empty(4, channels, 16, 16, device="meta")).shape == (4, channels, 16, 16)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"scale is two shares.*\(0\.0, 1\.0\)"),
        ({"scale": (0.5, 0.2)}, "scale is two shares"),
        ({"scale": (0.5, 1.2)}, "scale is two shares"),
        ({"ratio": (0.0, 1.0)}, "ratio is two quotients"),
        ({"flip": 1.5}, r"flip is a probability between 0 and 1, not 1\.5"),
        ({"jitter": -0.1}, "jitter is a probability"),
        ({"gray": float("nan")}, "gray is a finite number"),
        ({"blur": 2}, "blur is a probability"),
        ({"rotation": -1}, "rotation is the largest angle"),
        ({"contrast": -0.1}, "contrast is the largest change"),
        ({"hue": 0.6}, r"hue is the largest shift in turns, between 0 and 0\.5, not 0\.6"),
    ],
)
def test_refuses_wrong_arguments(argument: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimCLRAugment(**argument)


def test_it_is_a_module_without_parameters() -> None:
    augment: nn.Module = SimCLRAugment()
    assert not augment.state_dict()
    assert "gray=0.2" in repr(augment)
