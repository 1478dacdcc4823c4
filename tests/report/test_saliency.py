"""Grad-CAM against its definition, written out with slices of the network."""

import pytest
import torch
from torch import nn

from cleanse.networks import PreActResNet18, SmallCNN, SmallResNet
from cleanse.report.saliency import grad_cam


def test_it_is_the_weighted_sum_of_the_last_maps() -> None:
    """SmallCNN: the maps after the second convolution's ReLU, before the pooling."""
    torch.manual_seed(0)
    net, image = SmallCNN(1, 4).eval(), torch.rand(3, 1, 8, 8)
    saliency, predicted = grad_cam(net, image)
    maps = net.body[:4](image).detach().requires_grad_()
    logits = net.head(net.body[4:](maps))
    assert torch.equal(predicted, logits.argmax(1))
    for i in range(3):
        (slope,) = torch.autograd.grad(logits[i, predicted[i]], maps, retain_graph=True)
        expected = sum(slope[i, c].mean() * maps[i, c] for c in range(len(maps[i]))).clamp_min(0)
        torch.testing.assert_close(saliency[i], (expected / expected.max()).detach())


@pytest.mark.parametrize("make", [SmallResNet, PreActResNet18])
def test_small_maps_are_enlarged_and_a_frozen_network_will_do(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    net = make(3, 5).eval().requires_grad_(False)
    saliency, _ = grad_cam(net, torch.rand(2, 3, 32, 32))
    assert saliency.shape == (2, 32, 32)
    assert saliency.min() >= 0
    assert saliency.max() <= 1
    assert not any(module._forward_hooks for module in net.modules())


def test_it_finds_the_trigger_that_decides() -> None:
    """A network that adds up one corner; whatever else is on the image, it looks there."""
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    weight = torch.zeros(2, 8, 8)
    weight[1, 6:, 6:] = 1
    with torch.no_grad():
        net[0].weight.fill_(0)
        net[0].weight[0, 0, 1, 1] = 1
        net[3].weight.copy_(weight.flatten(1))
        net[3].bias.copy_(torch.tensor([0.5, 0.0]))
    image = torch.zeros(1, 1, 8, 8)
    image[..., 6:, 6:] = 1
    saliency, predicted = grad_cam(net, image)
    assert predicted.item() == 1
    assert torch.equal(saliency[0].bool(), image[0, 0].bool())


def test_without_a_convolution_there_is_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="Sequential has no convolution"):
        grad_cam(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 1, 2, 2))
