"""SmallCNN: two convolutions and a linear layer, for quick runs on tiny images."""

from torch import Tensor, nn

from cleanse.networks.base import Network


class SmallCNN(Network):
    """A three-layer net for 8x8 digits: conv, max-pooling, conv, average pooling to 2x2, linear.

    Shapes: images (B, in_channels, H, W) from 2x2 -> features (B, 8 * width) -> logits (B, num_classes).

    Args:
        in_channels: 1 for grey, 3 for colour images.
        num_classes: number of classes.
        width: channels of the first convolution; the second has twice as many.

    >>> sum(p.numel() for p in SmallCNN(1, 10).parameters())
    21482
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 32) -> None:
        super().__init__(8 * width, num_classes)
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),  # 2x2 cells, not 1: where a stroke lies tells digits apart
            nn.Flatten(),
        )

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y
