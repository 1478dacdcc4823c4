"""Crop, flip and rotation in one sampling, against torchvision's one after another and its draws of the box."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, hflip, rotate
from torchvision.transforms.functional import resized_crop as torchvision_crop

from cleanse.augment import random_boxes, resized_crop

NO, YES = torch.tensor([False]), torch.tensor([True])


def _boxes(height: int, width: int) -> Tensor:
    """Every kind of box: whole, a pixel, at each edge, in the middle."""
    return torch.tensor(
        [[0, 0, height, width], [1, 2, 1, 1], [0, 0, 1, width], [0, width - 1, height, 1], [2, 1, 3, 2],
         [height - 4, width - 3, 4, 3], [0, 1, height, 3]]
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 8, 8), (2, 6, 11)])
@pytest.mark.parametrize("antialias", [False, True])
def test_crop_and_flip_are_torchvisions(shape: tuple[int, int, int], antialias: bool) -> None:
    box = _boxes(*shape[1:])
    image, flipped = torch.rand(len(box), *shape), torch.rand(len(box)) < 0.5
    for one, b, f, ours in zip(image, box.tolist(), flipped, resized_crop(image, box, flipped), strict=True):
        expected = torchvision_crop(one, *b, list(shape[1:]), InterpolationMode.BILINEAR, antialias)
        torch.testing.assert_close(ours, hflip(expected) if f else expected, rtol=0, atol=1e-5)


def test_a_pixel_outside_the_box_has_no_part_in_the_result() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[:, :, 2:6, 3:5] = 1
    assert resized_crop(image, torch.tensor([[2, 3, 4, 2]]), NO).min() > 1 - 1e-5


@pytest.mark.parametrize("shape", [(3, 9, 7), (1, 8, 8)])
def test_the_whole_image_flipped_and_rotated_is_torchvisions(shape: tuple[int, int, int]) -> None:
    image, degrees = torch.rand(6, *shape), torch.tensor([0.0, 10.0, -33.0, 90.0, 179.0, -120.0])
    box = torch.tensor([[0, 0, *shape[1:]]]).expand(6, 4)
    for flipped, mirror in ((NO, lambda x: x), (YES, hflip)):
        for one, angle, ours in zip(image, degrees.tolist(), resized_crop(image, box, flipped, degrees), strict=True):
            expected = rotate(mirror(one), angle, InterpolationMode.BILINEAR)
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def test_a_part_flipped_and_rotated_is_torchvisions_up_to_the_second_interpolation() -> None:
    line = torch.linspace(0, 1, 16)
    smooth = (0.5 + 0.2 * torch.sin(4 * line[:, None] + 1) + 0.2 * torch.cos(5 * line[None, :])).expand(1, 1, 16, 16)
    box, degrees = torch.tensor([[3, 2, 10, 13]]), torch.tensor([25.0])
    once = resized_crop(smooth, box, YES, degrees)
    twice = rotate(hflip(torchvision_crop(smooth, 3, 2, 10, 13, [16, 16])), 25.0, InterpolationMode.BILINEAR)
    assert (once - twice).abs().max() < 0.01
    assert (once - resized_crop(smooth, box, YES, -degrees)).abs().max() > 0.1


def _same(ours: Tensor, theirs: Tensor) -> None:
    """The means of two samples (n, ...) do not differ by more than chance."""
    error = (ours.var(0) / len(ours) + theirs.var(0) / len(theirs)).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() <= 4.5 * error + 1e-6).all()


@pytest.mark.parametrize(
    ("size", "scale", "ratio"),
    [
        ((32, 32), (0.2, 1.0), (3 / 4, 4 / 3)),
        ((8, 8), (0.08, 1.0), (3 / 4, 4 / 3)),
        ((6, 20), (0.5, 1.0), (3 / 4, 4 / 3)),  # often none of ten fits: the middle
        ((20, 6), (0.9, 1.0), (3 / 4, 4 / 3)),  # always
    ],
)
def test_boxes_are_drawn_as_torchvision_does(
    size: tuple[int, int], scale: tuple[float, float], ratio: tuple[float, float]
) -> None:
    image = torch.empty(1, *size)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(4000)]).float()
    ours = random_boxes(20_000, *size, scale, ratio)
    for top, left, rows, columns in (ours.long().unbind(1), theirs.long().unbind(1)):
        assert min(top.min(), left.min()) >= 0
        assert min(rows.min(), columns.min()) >= 1
        assert (top + rows).max() <= size[0]
        assert (left + columns).max() <= size[1]
    _same(ours, theirs)
    _same(ours[:, :, None] * ours[:, None], theirs[:, :, None] * theirs[:, None])
    for column in range(4):  # each value's share
        values = torch.arange(max(size) + 1)
        _same((ours[:, column, None] == values).float(), (theirs[:, column, None] == values).float())
