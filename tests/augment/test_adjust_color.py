"""The color operations against torchvision's, one by one and in every order."""

from itertools import permutations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from cleanse.augment import adjust_color, shift_hue, to_gray

THEIRS = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
NEUTRAL = (1.0, 1.0, 1.0, 0.0)


def _images(count: int, channels: int = 3) -> Tensor:
    """Random pixels, among them black, white, gray and pure ones."""
    image = torch.rand(count, channels, 6, 5)
    image[:, :, 0] = (image[:, :, 0] > 0.5).float()
    image[:, :, 1] = image[:, :1, 1]
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("operation", range(4))
def test_each_operation_is_torchvisions(operation: int, channels: int) -> None:
    factors = torch.tensor([-0.5, -0.3, -0.1, 0.0, 0.2, 0.5] if operation == 3 else [0.0, 0.3, 0.9, 1.0, 1.4, 3.0])
    image = _images(6, channels)
    values = [torch.full((6,), v) for v in NEUTRAL]
    values[operation] = factors
    ours = adjust_color(image, *values, order=torch.arange(4).expand(6, 4))
    expected = torch.stack([THEIRS[operation](i, f) for i, f in zip(image, factors.tolist(), strict=True)])
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_every_order_is_torchvisions() -> None:
    orders = torch.tensor(list(permutations(range(4))))
    image, u = _images(24), torch.rand(4, 24)
    values = [*(0.3 + 1.4 * u[:3]), u[3] - 0.5]
    ours = adjust_color(image, *values, order=orders)
    for i, order in enumerate(orders.tolist()):
        expected = image[i]
        for operation in order:
            expected = THEIRS[operation](expected, values[operation][i].item())
        torch.testing.assert_close(ours[i], expected, rtol=0, atol=1e-5)
    assert len({tuple(x.tolist()) for x in adjust_color(image[:1], *values, orders)[:, :, 2, 2].round(decimals=4)}) > 12


def test_hue_is_torchvisions_on_a_fine_grid_of_colors() -> None:
    level = torch.linspace(0, 1, 12)
    image = torch.stack(torch.meshgrid(level, level, level, indexing="ij")).view(1, 3, 36, 48)
    for turns in (-0.5, -1 / 3, -0.07, 0.0, 1e-3, 1 / 6, 0.25, 0.5):
        expected = tv.adjust_hue(image, turns)
        torch.testing.assert_close(shift_hue(image, torch.tensor([turns])), expected, rtol=0, atol=2e-6)


def test_gray_is_torchvisions_where_chosen() -> None:
    image, chosen = _images(8), torch.arange(8) % 2 == 0
    gray = to_gray(image, chosen)
    torch.testing.assert_close(gray[::2], tv.rgb_to_grayscale(image, 3)[::2], rtol=0, atol=1e-6)
    assert gray[1::2].equal(image[1::2])
    assert to_gray(image[:, :1], chosen).equal(image[:, :1])


def test_half_precision_is_computed_in_full() -> None:
    image, u = _images(24).bfloat16(), torch.rand(4, 24)
    values, orders = [*(0.3 + 1.4 * u[:3]), u[3] - 0.5], torch.tensor(list(permutations(range(4))))
    assert adjust_color(image, *values, orders).equal(adjust_color(image.float(), *values, orders).bfloat16())


def test_refuses_two_channels() -> None:
    one, zero = torch.ones(2), torch.zeros(2)
    with pytest.raises(ValueError, match=r"1 channel \(gray\) or 3 \(RGB\), not 2"):
        adjust_color(torch.rand(2, 2, 4, 4), one, one, one, zero, torch.arange(4).expand(2, 4))
