"""What the fused augmentations do alike."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from cleanse.augment import PadCrop, SimCLRAugment

ALL = (PadCrop(), SimCLRAugment(rotation=10, blur=0.5))


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
    assert out.min() >= 0
    assert out.max() <= 1
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


def test_refuses_a_negative_padding() -> None:
    with pytest.raises(ValueError, match="padding is a number of pixels"):
        PadCrop(-1)


def test_importing_it_imports_neither_kornia_nor_torchvision() -> None:
    code = "import sys, cleanse.augment; sys.exit(any(m in sys.modules for m in ('kornia', 'torchvision')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
