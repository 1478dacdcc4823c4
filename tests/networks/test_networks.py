"""Every network: shapes, parameters, gradients; and each against an independent statement of its definition."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cleanse.networks import (
    VGG16BN,
    DenseNet121,
    FastNet,
    MicronNet,
    Network,
    PreActResNet18,
    ResNet18,
    SmallCNN,
    SmallResNet,
)

Make = Callable[[int, int], Network]
Stem = Literal["small", "imagenet"]
SMALL_VGG = partial(VGG16BN, head_width=16)
CASES: list[tuple[Make, int, int]] = [  # network, image size, features
    (partial(PreActResNet18, width=8), 28, 64),
    (partial(PreActResNet18, width=8), 32, 64),
    (partial(PreActResNet18, width=8), 48, 64),
    (ResNet18, 28, 512),
    (ResNet18, 32, 512),
    (partial(ResNet18, stem="imagenet"), 64, 512),
    (SMALL_VGG, 32, 16),
    (SMALL_VGG, 48, 16),
    (partial(DenseNet121, stem="small"), 8, 1024),
    (DenseNet121, 64, 1024),
    (MicronNet, 48, 300),
    (SmallResNet, 8, 64),
    (partial(SmallResNet, width=4, blocks=2), 28, 16),
    (SmallResNet, 32, 64),
    (SmallCNN, 8, 512),
    (partial(FastNet, widths=(8, 16, 24)), 16, 24),
    (FastNet, 28, 256),
    (partial(FastNet, widths=(8, 16, 24)), 33, 24),
    (partial(SmallCNN, width=4), 32, 64),
]


def _name(value: object) -> str | None:
    if isinstance(value, partial):
        return value.func.__name__ + "".join(f"-{v}" for v in value.keywords.values()).replace(", ", "_")
    return None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("make", "size", "num_features"), CASES, ids=_name)
def test_shapes_gradients_and_batch_invariance(make: Make, size: int, num_features: int, channels: int) -> None:
    torch.manual_seed(0)
    network, image = make(channels, 7), torch.randn(4, channels, size, size)
    assert network.num_features == num_features

    names, parameters = zip(*network.named_parameters(), strict=True)
    loss = F.cross_entropy(network(image), torch.arange(4))
    gradients = torch.autograd.grad(loss, parameters)  # an error where a parameter has no part in the loss
    assert [name for name, g in zip(names, gradients, strict=True) if not g.isfinite().all() or not g.any()] == []

    network.eval()
    with torch.no_grad():
        features, logits = network.features(image), network(image)
        assert features.shape == (4, num_features)
        assert logits.shape == (4, 7)
        assert logits.equal(network.head(features))
        torch.testing.assert_close(network(image[1:2]), logits[1:2], rtol=1e-3, atol=1e-4)
        network.head = nn.Identity()
        assert network(image).equal(features)


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _meta(make: Make, channels: int, classes: int) -> Network:
    with torch.device("meta"):
        return make(channels, classes)


def _conv_bn(i: int, o: int, k: int) -> int:
    return i * o * k * k + 2 * o


@pytest.mark.parametrize("channels", [1, 3])
def test_parameter_count_of_pre_act_resnet18(channels: int) -> None:
    expected, narrow = channels * 64 * 9, 64
    for wide in (64, 128, 256, 512):
        expected += 2 * narrow + narrow * wide * 9 + 2 * wide + wide * wide * 9  # the stage's first block
        expected += narrow * wide if narrow != wide else 0  # its shortcut
        expected += 2 * (2 * wide + wide * wide * 9)
        narrow = wide
    assert _count(_meta(PreActResNet18, channels, 10)) == expected + 513 * 10


@pytest.mark.parametrize(("stem", "kernel"), [("small", 3), ("imagenet", 7)])
def test_parameter_count_of_resnet18(stem: Stem, kernel: int) -> None:
    expected, narrow = _conv_bn(3, 64, kernel), 64
    for wide in (64, 128, 256, 512):
        expected += _conv_bn(narrow, wide, 3) + 3 * _conv_bn(wide, wide, 3)
        expected += _conv_bn(narrow, wide, 1) if narrow != wide else 0
        narrow = wide
    assert _count(_meta(partial(ResNet18, stem=stem), 3, 10)) == expected + 513 * 10


@pytest.mark.parametrize("width", [4096, 16])
def test_parameter_count_of_vgg16(width: int) -> None:
    channels = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    expected = sum(_conv_bn(i, o, 3) + o for i, o in pairwise(channels))
    expected += (512 * 49 + 1) * width + (width + 1) * width + (width + 1) * 10
    assert _count(_meta(partial(VGG16BN, head_width=width), 3, 10)) == expected


@pytest.mark.parametrize(("stem", "kernel"), [("small", 3), ("imagenet", 7)])
def test_parameter_count_of_densenet121(stem: Stem, kernel: int) -> None:
    expected, width = _conv_bn(3, 64, kernel), 64
    for layers in (6, 12, 24, 16):
        for _ in range(layers):  # BN, 1x1 to 128, BN, 3x3 to 32 more channels
            expected += 2 * width + _conv_bn(width, 128, 1) + 128 * 32 * 9
            width += 32
        if layers != 16:
            expected += 2 * width + width * (width // 2)
            width //= 2
    expected += 2 * width + (width + 1) * 10
    assert _count(_meta(partial(DenseNet121, stem=stem), 3, 10)) == expected


def test_parameter_count_of_micronnet() -> None:
    expected = 2 * 3 + sum(_conv_bn(i, o, k) + o for i, o, k in ((3, 1, 1), (1, 29, 5), (29, 59, 3), (59, 74, 3)))
    expected += (74 * 16 + 1) * 300 + 2 * 300 + 300 * 43
    assert _count(_meta(MicronNet, 3, 43)) == expected


def test_parameter_count_of_resnet32() -> None:
    with_option_a = 464_154  # the usual count for CIFAR-10 with parameter-free shortcuts
    projections = _conv_bn(16, 32, 1) + _conv_bn(32, 64, 1)
    assert _count(SmallResNet(3, 10, blocks=5)) == with_option_a + projections


def test_pre_act_resnet18_is_the_variant_of_the_literature() -> None:
    torch.manual_seed(0)
    network, x = PreActResNet18(3, 5, width=4), torch.randn(6, 3, 32, 32)
    weights = iter(network.body.parameters())  # in the order of the definition

    def take() -> Tensor:
        return next(weights)

    def batch_norm(y: Tensor) -> Tensor:
        mean, var = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), unbiased=False, keepdim=True)
        weight, bias = take(), take()
        return (y - mean) / (var + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]

    y = F.conv2d(x, take(), padding=1)
    for stage in range(4):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            activated = batch_norm(y).clamp(min=0)
            residual = F.conv2d(activated, take(), stride=stride, padding=1)
            residual = F.conv2d(batch_norm(residual).clamp(min=0), take(), padding=1)
            y = residual + (F.conv2d(activated, take(), stride=2) if stride == 2 else y)
    y = F.avg_pool2d(y, 4).flatten(1)
    head = network.head
    assert isinstance(head, nn.Linear)
    torch.testing.assert_close(network(x), y @ head.weight.T + head.bias, rtol=1e-4, atol=1e-4)
    assert list(weights) == []


def test_small_resnet_is_torchvisions_block_in_three_stages() -> None:
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    network, x = SmallResNet(1, 3, width=4), torch.randn(5, 1, 8, 8)
    stages = []
    for narrow, wide, stride in ((4, 4, 1), (4, 8, 2), (8, 16, 2)):
        down = None
        if stride == 2:
            down = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        stages.append(BasicBlock(narrow, wide, stride, down))
    stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    expected = nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    names = list(expected.state_dict())
    ours = {k: v for k, v in network.state_dict().items() if not k.startswith("head")}
    expected.load_state_dict(dict(zip(names, ours.values(), strict=True)))
    torch.testing.assert_close(network.features(x), expected(x))


@pytest.mark.parametrize("channels", [1, 3])
def test_vgg_is_initialized_as_torchvision_does(channels: int) -> None:
    network = VGG16BN(channels, 10, head_width=16)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert (convolutions[0].in_channels, len(convolutions), len(linear)) == (channels, 13, 3)
    for m in convolutions:
        assert m.bias is not None
        assert not m.bias.any()
        assert m.weight.std().item() == pytest.approx((2 / (9 * m.out_channels)) ** 0.5, rel=0.15)
    for layer in linear:
        assert not layer.bias.any()
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.3)


def test_refuses_small_images_and_says_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="32x32 or more, not 28x28"):
        SMALL_VGG(1, 10)(torch.zeros(2, 1, 28, 28))
    with pytest.raises(ValueError, match="48x48, not 32x32"):
        MicronNet(3, 43)(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"29x29 or more, not 28x28.*stem='small'"):
        DenseNet121(3, 10)(torch.zeros(2, 3, 28, 28))
    with pytest.raises(ValueError, match="8x8 or more, not 7x8"):
        DenseNet121(3, 10, stem="small")(torch.zeros(2, 3, 7, 8))


def test_smallest_densenet_images() -> None:
    assert DenseNet121(3, 10, stem="small").eval()(torch.zeros(1, 3, 8, 8)).shape == (1, 10)
    assert DenseNet121(3, 10).eval()(torch.zeros(1, 3, 29, 29)).shape == (1, 10)


def test_refuses_wrong_arguments() -> None:
    with pytest.raises(ValueError, match=r"num_classes.*not 0"):
        SmallCNN(1, 0)
    with pytest.raises(ValueError, match="stem is one of small, imagenet, not 'cifar'"):
        ResNet18(3, 10, stem="cifar")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stem is one of small, imagenet, not 'cifar'"):
        DenseNet121(3, 10, stem="cifar")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"blocks.*not 0"):
        SmallResNet(3, 10, blocks=0)


@pytest.mark.parametrize("make", [SmallCNN, SmallResNet])
def test_small_networks_learn_the_digits(make: Make) -> None:
    from sklearn.datasets import load_digits

    torch.manual_seed(0)
    digits = load_digits()
    image = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 8 - 1
    label = torch.tensor(digits.target)
    network = make(1, 10)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for rows in torch.randperm(1300)[:1280].view(20, 64):
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(network(image[rows]), label[rows]))
            optimizer.step()
    network.eval()
    with torch.no_grad():
        assert (network(image[1300:]).argmax(1) == label[1300:]).float().mean() > 0.88


def test_small_resnet_learns_from_large_images_too() -> None:
    """Channels-last, few channels, 224 pixels: a strided 1x1 convolution would end the process (torch 2.15, CPU)."""
    network = SmallResNet(3, 2, width=8).to(memory_format=torch.channels_last)
    image = torch.rand(4, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    network(image).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
