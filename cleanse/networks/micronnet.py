"""MicronNet: a very small network for traffic signs."""

from torch import Tensor, nn

from cleanse.networks.base import Network


class MicronNet(Network):
    """MicronNet for 48x48 GTSRB.

    Source: Wong et al. 2018, "MicronNet: A Highly Compact Deep Convolutional Neural Network Architecture for
    Real-time Embedded Traffic Sign Classification" (https://arxiv.org/abs/1804.00497), in the PyTorch form known from
    https://github.com/ppriyank/MicronNet, from which the Armory GTSRB scenario's network is adapted:
    a 1x1 convolution to one channel, convolutions to 29, 59 and 74 channels, linear layers of 300 and num_classes.

    Departures:
        - the order of batch norm and ReLU and the dropout of 1/2 before the head are that form's as recollected;
          it has 0.42 million parameters, the paper counts 0.51 million.
        - logits, not log-probabilities, come out.

    Shapes: images (B, in_channels, 48, 48) -> features (B, 300) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes; GTSRB has 43.

    Raises:
        ValueError: in `features`, for images that are not 48x48.

    >>> sum(p.numel() for p in MicronNet(3, 43).parameters())
    424916
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__(300, num_classes)
        self.body = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            *_conv(in_channels, 1, 1),
            *_conv(1, 29, 5),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_conv(29, 59, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            *_conv(59, 74, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.Flatten(),
            nn.Linear(74 * 4 * 4, 300),
            nn.ReLU(),
            nn.BatchNorm1d(300),
            nn.Dropout(),
        )
        self.head = nn.Linear(300, num_classes, bias=False)

    def features(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != (48, 48):
            raise ValueError(f"MicronNet needs images of 48x48, not {x.shape[2]}x{x.shape[3]}: resize them")
        y: Tensor = self.body(x)
        return y


def _conv(in_width: int, out_width: int, kernel: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(in_width, out_width, kernel), nn.BatchNorm2d(out_width), nn.ReLU()
