"""FastNet: its first layer whitens, comes from images alone and goes with the weights; and it learns in few steps."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cleanse.networks import FastNet


def images(n: int = 300, channels: int = 3, seed: int = 0) -> Tensor:
    """(n, channels, 16, 16), smooth as photographs are: neighbors are alike."""
    coarse = torch.randn(n, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, (16, 16), mode="bilinear") + 0.5


def initialized(channels: int = 3, seed: int = 0) -> FastNet:
    network = FastNet(channels, 4, widths=(8, 8, 8))
    network.initialize(images(channels=channels, seed=seed))
    return network


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_layer_makes_channels_of_one_size_without_correlation(channels: int) -> None:
    network, rows = initialized(channels), images(channels=channels)
    out = F.conv2d(rows, network.weight)[:, : 4 * channels].transpose(0, 1).flatten(1).double()
    second_moment = out @ out.T / out.shape[1]
    significant = second_moment.diagonal() > 0.5  # the ridge leaves directions without variance small
    assert significant.sum() >= 3 * channels
    expected = torch.eye(int(significant.sum()), dtype=torch.float64)
    torch.testing.assert_close(second_moment[significant][:, significant], expected, atol=0.15, rtol=0)


def test_every_direction_is_there_with_both_signs() -> None:
    first, second = initialized().weight.chunk(2)
    assert first.equal(-second)


def test_the_first_layer_depends_on_the_images_alone() -> None:
    torch.manual_seed(1)
    one = initialized()
    torch.manual_seed(2)
    assert initialized().weight.equal(one.weight)
    assert not initialized(seed=5).weight.equal(one.weight)


def test_a_second_call_changes_nothing() -> None:
    network = initialized()
    before = network.weight.clone()
    network.initialize(images(seed=5))
    assert network.weight.equal(before)


def test_the_first_layer_goes_with_the_weights() -> None:
    network, other = initialized(), FastNet(3, 4, widths=(8, 8, 8))
    other.load_state_dict(network.state_dict())
    other.initialize(images(seed=5))
    assert other.weight.equal(network.weight)


def test_parameters_are_those_of_six_convolutions_their_shifts_and_a_head() -> None:
    widths = (24, 64, 64, 256, 256, 256, 256)
    expected = sum(9 * i * o + o for i, o in pairwise(widths)) + 24 + 256 * 10
    assert sum(p.numel() for p in FastNet(3, 10).parameters()) == expected


def test_convolutions_begin_as_the_identity() -> None:
    group = FastNet(3, 10, widths=(32, 32, 32)).body[0]
    x = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(group.conv1(x)[:, :24], x)


def test_the_shift_of_batch_norm_is_eight_times_its_parameter() -> None:
    norm = FastNet(3, 10, widths=(8, 8, 8)).body[0].norm1
    x = torch.randn(6, 8, 4, 4)
    norm.shift.data.fill_(0.25)
    torch.testing.assert_close(norm(x), F.batch_norm(x, None, None, training=True) + 2)


def test_refusals_say_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="16x16 or more, not 8x8: take SmallCNN"):
        FastNet(1, 10)(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="images of 3 channels, not 1"):
        FastNet(3, 10).initialize(images(channels=1))
    with pytest.raises(ValueError, match="widths is at least 1, not 0"):
        FastNet(3, 10, widths=(8, 0, 8))
    with pytest.raises(ValueError, match="head_scale is above 0"):
        FastNet(3, 10, head_scale=0)
