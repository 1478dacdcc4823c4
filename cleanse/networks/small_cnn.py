"""SmallCNN: two convolutions and a linear layer, for quick runs on tiny images."""

from torch import Tensor, nn

from cleanse.networks.base import Network


class SmallCNN(Network):
    """A three-layer net for 8x8 digits: conv, conv, max-pooling to 4x4, linear.

    Without batch normalization on purpose: with it, weak learners of a few dozen steps pick up a trigger about as fast
    as the classes, and ISPL no longer tells the two apart (see "When not to use ISPL" in the README).

    Shapes: images (B, in_channels, H, W) from 4x4 -> features (B, 16 * width) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        width: channels of both convolutions.

    >>> sum(p.numel() for p in SmallCNN(1, 10).parameters())
    14698
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 32) -> None:
        super().__init__(16 * width, num_classes)
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
        )

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y
