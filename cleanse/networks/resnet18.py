"""ResNet18: torchvision's, with a stem for small images."""

from typing import Literal

from torch import Tensor, nn

from cleanse.networks.base import Network


class ResNet18(Network):
    """ResNet-18, by default with the stem that papers use on CIFAR: a 3x3 convolution of stride 1 and no max-pooling.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition" (https://arxiv.org/abs/1512.03385), as
    implemented and initialized by torchvision.

    Shapes: images (B, in_channels, H, W) -> features (B, 512) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        stem: ``small`` for images up to about 64x64; ``imagenet`` (7x7 convolution of stride 2, max-pooling) for
            about 224x224.

    Raises:
        ValueError: if ``stem`` is another word.

    >>> sum(p.numel() for p in ResNet18(3, 10).parameters())
    11173962
    """

    def __init__(self, in_channels: int, num_classes: int, stem: Literal["small", "imagenet"] = "small") -> None:
        from torchvision.models import resnet18  # slow to import, so only with the network

        super().__init__(512, num_classes)
        self.body = resnet18()
        self.body.fc = nn.Identity()
        if stem == "small":
            self.body.conv1 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
            self.body.maxpool = nn.Identity()
        else:
            self.body.conv1 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.body.conv1.weight, mode="fan_out", nonlinearity="relu")

    @property
    def map_layers(self) -> tuple[nn.Module, ...]:
        """The last three of the four stages."""
        return self.body.layer2, self.body.layer3, self.body.layer4

    def features(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return y
