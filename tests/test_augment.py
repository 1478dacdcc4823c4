"""Augmentation against Kornia and torchvision: the same image for the same draw, and the same distribution of draws."""

import subprocess
import sys

import pytest
import torch
from kornia.augmentation import RandomCrop, RandomHorizontalFlip, RandomRotation
from torch import Tensor, nn
from torchvision.transforms.functional import InterpolationMode, crop, hflip, pad
from torchvision.transforms.functional import rotate as torchvision_rotate

from cleanse.augment import Flip, PadCrop, Rotation, flip, pad_crop, rotate

ALL = (Flip(), PadCrop(), Rotation())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_flip_is_kornias_image_by_image() -> None:
    image, kornia = torch.rand(64, 3, 6, 5), RandomHorizontalFlip(p=0.5)
    expected = kornia(image)
    chosen = kornia._params["batch_prob"].bool()
    assert 0 < chosen.sum() < 64
    assert flip(image, chosen).equal(expected)
    assert flip(image, torch.ones(64, dtype=torch.bool)).equal(hflip(image))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_flip_chooses_each_image_with_probability_p(p: float) -> None:
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).repeat(20_000, 1, 1, 1)
    flipped = Flip(p)(image)[:, 0, 0, 0]
    assert flipped.mean() == pytest.approx(p, abs=4 * (p * (1 - p) / 20_000) ** 0.5)
    if p == 0.3:  # independent of its neighbour
        assert (flipped[1:] * flipped[:-1]).mean() == pytest.approx(0.09, abs=0.01)


def test_crop_is_torchvisions_at_every_place() -> None:
    image = torch.rand(1, 3, 6, 5)
    padded = pad(image, [2])
    for top in range(5):
        for left in range(5):
            ours = pad_crop(image, torch.tensor([top]), torch.tensor([left]), padding=2)
            assert ours.equal(crop(padded, top, left, 6, 5))
    assert pad_crop(image, torch.tensor([2]), torch.tensor([2]), padding=2).equal(image)


def test_crop_is_kornias_image_by_image() -> None:
    image, kornia = torch.rand(64, 3, 6, 5), RandomCrop((6, 5), padding=2)
    expected = kornia(image)
    left, top = kornia._params["src"][:, 0].long().T
    assert pad_crop(image, top, left, padding=2).equal(expected)


def _crop_counts(augment: nn.Module) -> Tensor:
    """How often each of the 5 x 5 places comes in 25,000 images whose middle pixel alone is one."""
    image = torch.zeros(25_000, 1, 5, 5)
    image[:, :, 2, 2] = 1
    counts: Tensor = augment(image).sum((0, 1))
    return counts


def test_crop_draws_every_place_equally_often_as_kornia_does() -> None:
    for augment in (PadCrop(padding=2), RandomCrop((5, 5), padding=2)):
        counts = _crop_counts(augment)
        assert counts.sum() == 25_000  # with 2 pixels of padding the middle pixel never leaves
        chi_square = ((counts - 1000) ** 2 / 1000).sum()
        assert chi_square < 51.2  # 24 degrees of freedom, p = 0.001


@pytest.mark.parametrize("shape", [(32, 3, 8, 8), (32, 1, 9, 6)])
def test_rotation_is_torchvisions_and_kornias_image_by_image(shape: tuple[int, ...]) -> None:
    image, kornia = torch.rand(shape), RandomRotation(40.0, p=1.0)
    expected = kornia(image)
    degrees = kornia._params["degrees"]
    torch.testing.assert_close(rotate(image, degrees), expected, rtol=0, atol=1e-5)
    for one, angle, ours in zip(image, degrees.tolist(), rotate(image, degrees), strict=True):
        torchvision = torchvision_rotate(one, angle, InterpolationMode.BILINEAR)
        torch.testing.assert_close(ours, torchvision, rtol=0, atol=1e-4)


def test_rotation_by_a_quarter_turn_is_rot90() -> None:
    image = torch.rand(2, 3, 7, 7)
    torch.testing.assert_close(rotate(image, torch.tensor([90.0, -90.0]))[0], image[0].rot90(1, (1, 2)))
    torch.testing.assert_close(rotate(image, torch.tensor([90.0, -90.0]))[1], image[1].rot90(-1, (1, 2)))
    torch.testing.assert_close(rotate(image, torch.zeros(2)), image)


def _angles(augment: nn.Module) -> Tensor:
    """The angles drawn, sorted: a ramp that rises to the right shows each one at the middle of the second row."""
    ramp = torch.linspace(-1, 1, 5).expand(4000, 1, 5, 5)
    angles: Tensor = (augment(ramp)[:, 0, 1, 2] * 2).asin().rad2deg().sort().values
    return angles


def test_rotation_draws_angles_uniformly_as_kornia_does() -> None:
    uniform = torch.linspace(-20, 20, 4000)
    for augment in (Rotation(degrees=20), RandomRotation(20.0, p=1.0)):
        gap = (_angles(augment) - uniform).abs().max() / 40  # Kolmogorov-Smirnov distance, up to 1 / 4000
        assert gap < 1.95 / 4000**0.5  # p = 0.001


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_shape_type_format_and_range_are_kept(
    augment: nn.Module, channels: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    image = torch.rand(16, channels, 12, 10).to(dtype).contiguous(memory_format=memory_format)
    original = image.clone()
    out = augment(image)
    assert (out.shape, out.dtype) == (image.shape, dtype)
    assert out.is_contiguous(memory_format=memory_format)
    assert out.min() >= 0 and out.max() <= 1
    assert image.equal(original)


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
def test_the_seed_repeats_and_images_are_drawn_one_by_one(augment: nn.Module) -> None:
    image = torch.rand(1, 3, 8, 8).expand(32, 3, 8, 8)
    torch.manual_seed(7)
    first = augment(image)
    second = augment(image)
    torch.manual_seed(7)
    assert augment(image).equal(first)
    assert not second.equal(first)
    assert not first.equal(first[:1].expand_as(first))
    assert augment(image[:0]).shape == (0, 3, 8, 8)


def test_memory_format_makes_no_difference_to_the_result() -> None:
    image = torch.rand(16, 3, 8, 8)
    for augment in ALL:
        torch.manual_seed(1)
        expected = augment(image)
        torch.manual_seed(1)
        torch.testing.assert_close(augment(image.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("augment", ALL, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("image", [torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)])
def test_refuses_what_is_no_float_batch(augment: nn.Module, image: Tensor) -> None:
    with pytest.raises(ValueError, match="batch"):
        augment(image)


def test_refuses_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"p is a probability.*1\.5"):
        Flip(1.5)
    with pytest.raises(ValueError, match="padding is a number of pixels"):
        PadCrop(-1)
    with pytest.raises(ValueError, match="degrees is the largest angle"):
        Rotation(-2)


def test_importing_it_imports_neither_kornia_nor_torchvision() -> None:
    code = "import sys, cleanse.augment; sys.exit(any(m in sys.modules for m in ('kornia', 'torchvision')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
