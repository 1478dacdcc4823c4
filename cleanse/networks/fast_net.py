"""FastNet: a small, wide network for few epochs of 32x32 photographs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cleanse.networks.base import Network

RIDGE = 5e-4
"""Added to the variance of a direction of the patches before it is divided by its root, as in the source."""
BIAS_SCALE = 8.0
"""Batch norm's shift is so many times its parameter, which learns as with a 64 times as high rate."""
SMALLEST = 16


class FastNet(Network):
    """A whitening convolution, three groups of two 3x3 convolutions, and a scaled linear head.

    Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU" (https://arxiv.org/abs/2404.00498), whose
    network (airbench94) goes back to Page's ResNet-9 of 2018. The first layer, 2x2 patches to twice as many channels as
    a patch has values, is computed from training images by `initialize` and does not learn, only its shift does: the
    principal directions of the patches, each divided by its standard deviation, and the same with the other sign.
    Convolutions begin as the identity, batch norm has a shift and no factor, GELU is the activation.

    Departures:
        - the shift of the first layer learns to the end, not for three epochs; the shifts of batch norm learn faster
          by a factor in the network, not by an optimizer's group.
        - the last map is pooled to its maximum at any size, so that other sizes than 32x32 work.
        - no bias in the head, as in the source; nothing else in the network is scaled.

    Shapes: images (B, in_channels, H, W) of at least 16x16 -> features (B, widths[2]) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        widths: channels of the three groups.
        head_scale: what the logits are multiplied by; the source's 1/9.

    Raises:
        ValueError: an argument out of range; in `features`, for images of less than 16x16; in `initialize`, for images
            of other channels.

    >>> sum(p.numel() for p in FastNet(3, 10).parameters())
    1971352
    """

    weight: Tensor
    initialized: Tensor

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        widths: tuple[int, int, int] = (64, 256, 256),
        head_scale: float = 1 / 9,
    ) -> None:
        super().__init__(widths[-1], num_classes)
        if not head_scale > 0:
            raise ValueError(f"head_scale is above 0, not {head_scale}")
        values = 4 * in_channels
        start = torch.empty(values, in_channels, 2, 2)
        nn.init.orthogonal_(start)
        self.register_buffer("weight", torch.cat([start, -start]))
        self.register_buffer("initialized", torch.tensor(False))
        self.shift = nn.Parameter(torch.zeros(2 * values))
        entering = (2 * values, *widths[:2])
        self.body = nn.Sequential(*(Group(i, o) for i, o in zip(entering, widths, strict=True)))
        self.head = nn.Sequential(nn.Linear(widths[-1], num_classes, bias=False), Scale(head_scale))

    @property
    def map_layers(self) -> tuple[nn.Module, ...]:
        """The three groups."""
        return tuple(self.body)

    @torch.no_grad()
    def initialize(self, image: Tensor) -> None:
        """Make the first layer from normalized training images (n, in_channels, H, W), float.

        A second call does nothing. The same images give the same layer; patches are counted in float64.
        """
        if self.initialized:
            return
        if image.shape[1] != self.weight.shape[1]:
            raise ValueError(f"the network is for images of {self.weight.shape[1]} channels, not {image.shape[1]}")
        values = len(self.weight) // 2
        covariance = torch.zeros(values, values, dtype=torch.float64)
        count = 0
        for part in image.cpu().split(256):  # type: ignore[no-untyped-call]
            patch = F.unfold(part.double(), 2).transpose(1, 2).reshape(-1, values)
            covariance += patch.T @ patch
            count += len(patch)
        variance, direction = torch.linalg.eigh(covariance / count)
        direction = direction * torch.where(direction.sum(0) < 0, -1.0, 1.0)  # either sign is an eigenvector
        whitening = (direction / (variance.clamp_min(0) + RIDGE).sqrt()).T.reshape(values, -1, 2, 2)
        self.weight.copy_(torch.cat([whitening, -whitening]))
        self.initialized.fill_(True)

    def features(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < SMALLEST:
            raise ValueError(
                f"FastNet needs images of {SMALLEST}x{SMALLEST} or more, not {x.shape[2]}x{x.shape[3]}: take SmallCNN "
                "or SmallResNet"
            )
        y: Tensor = self.body(F.gelu(F.conv2d(x, self.weight, self.shift)))
        return y.amax((2, 3))


class Group(nn.Module):
    """Two 3x3 convolutions that begin as the identity, each with batch norm and GELU, the first with 2x2 max pooling.

    Shapes: (B, in_width, H, W) -> (B, out_width, H // 2, W // 2).
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, out_width, 3, padding=1, bias=False)
        self.norm1 = Norm(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.norm2 = Norm(out_width)
        for conv in (self.conv1, self.conv2):
            same = min(conv.in_channels, conv.out_channels)  # the channels beyond begin at random
            nn.init.dirac_(conv.weight.data[:same])

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.norm1(F.max_pool2d(self.conv1(x), 2)))
        return F.gelu(self.norm2(self.conv2(y)))


class Norm(nn.Module):
    """Batch norm without a factor, whose shift is `BIAS_SCALE` times its parameter.

    Shapes: (B, width, H, W) -> the same.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width, momentum=0.4, affine=False)
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x)
        return y + (BIAS_SCALE * self.shift).to(y.dtype).view(1, -1, 1, 1)


class Scale(nn.Module):
    """Multiply by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor
