"""PreActResNet18: ResNet-18 with batch norm and ReLU before each convolution."""

from itertools import pairwise

from torch import Tensor, nn

from cleanse.networks.base import Network


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice, plus a shortcut: the input, or a 1x1 convolution of its first BN-ReLU if the shape changes.

    Shapes: (B, in_width, H, W) -> (B, out_width, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_width != out_width:
            self.shortcut = nn.Conv2d(in_width, out_width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(x).relu()
        shortcut: Tensor = x if self.shortcut is None else self.shortcut(y)
        residual: Tensor = self.conv2(self.bn2(self.conv1(y)).relu())
        return shortcut + residual


class PreActResNet18(Network):
    """The pre-activation ResNet-18 that papers on CIFAR backdoors train.

    Source: He et al. 2016, "Identity Mappings in Deep Residual Networks" (https://arxiv.org/abs/1603.05027), in the
    variant of https://github.com/kuangliu/pytorch-cifar: no batch norm and no ReLU after the last block.

    Departures:
        - global average pooling: the same as the variant's 4x4 pooling for 32x32 (and 28x28) images, and any other
          size works too.

    Shapes: images (B, in_channels, H, W) -> features (B, 8 * width) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        width: channels of the first stage; each of the three next ones has twice as many.

    >>> sum(p.numel() for p in PreActResNet18(3, 10).parameters())
    11171146
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 64) -> None:
        super().__init__(8 * width, num_classes)
        blocks: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False)]
        blocks += [PreActBlock(width, width, 1), PreActBlock(width, width, 1)]
        for narrow, wide in pairwise((width, 2 * width, 4 * width, 8 * width)):
            blocks += [PreActBlock(narrow, wide, 2), PreActBlock(wide, wide, 1)]
        self.body = nn.Sequential(*blocks)

    @property
    def map_layers(self) -> tuple[nn.Module, ...]:
        """The last blocks of the last three of the four stages."""
        return self.body[4], self.body[6], self.body[8]

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y.mean((2, 3))
