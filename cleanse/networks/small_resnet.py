"""SmallResNet: the family of small ResNets for small images."""

from torch import Tensor, nn

from cleanse.networks.base import Network


class BasicBlock(nn.Module):
    """Conv-BN-ReLU-conv-BN, plus a shortcut: the input, or a 1x1 convolution of it if the shape changes; then ReLU.

    Shapes: (B, in_width, H, W) -> (B, out_width, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_width: int, out_width: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_width, out_width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_width),
            nn.ReLU(),
            nn.Conv2d(out_width, out_width, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_width != out_width:
            self.shortcut = nn.Sequential(nn.Conv2d(in_width, out_width, 1, bias=False), nn.BatchNorm2d(out_width))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # the pixels are chosen here: with a stride, the 1x1 convolution's gradient kills the process on CPUs where the
        # image is large, in channels-last format and has fewer than 16 channels (torch 2.15)
        y: Tensor = self.residual(x) + self.shortcut(x[:, :, :: self.stride, :: self.stride])
        return y.relu()


class SmallResNet(Network):
    """A ResNet of 6 * blocks + 2 layers for images of 8x8 to 64x64; ResNet-8 by default, ResNet-32 with 5 blocks.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition" (https://arxiv.org/abs/1512.03385),
    section 4.2: three stages of 16, 32 and 64 channels, global average pooling.

    Departures:
        - where the shape changes, the shortcut is a 1x1 convolution with batch norm (the paper's option B), not
          subsampling with zeros (option A).

    Shapes: images (B, in_channels, H, W) -> features (B, 4 * width) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        width: channels of the first stage; the next two have twice and four times as many.
        blocks: blocks of two convolutions in each stage.

    Raises:
        ValueError: if ``blocks`` is not positive.

    >>> sum(p.numel() for p in SmallResNet(3, 10).parameters())
    78042
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 16, blocks: int = 1) -> None:
        super().__init__(4 * width, num_classes)
        if blocks < 1:
            raise ValueError(f"blocks is the number of blocks in each stage, at least 1, not {blocks}")
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        stages: list[nn.Module] = []
        for in_width, out_width, stride in ((width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2)):
            stages.append(BasicBlock(in_width, out_width, stride))
            stages += [BasicBlock(out_width, out_width, 1) for _ in range(blocks - 1)]
        self.body = nn.Sequential(*stages)
        self.blocks = blocks

    @property
    def map_layers(self) -> tuple[nn.Module, ...]:
        """The last block of each stage."""
        return tuple(self.body[(stage + 1) * self.blocks - 1] for stage in range(3))

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(self.stem(x))
        return y.mean((2, 3))
