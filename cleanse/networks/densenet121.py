"""DenseNet121: torchvision's, with a stem for small images."""

from typing import Literal

from torch import Tensor, nn

from cleanse.networks.base import Network


class DenseNet121(Network):
    """DenseNet-121, the classifier of Sabolic et al. 2024 (arXiv 2409.01185) on ImageNet-30 and VGGFace2-30.

    Source: Huang et al. 2017, "Densely Connected Convolutional Networks" (https://arxiv.org/abs/1608.06993), as
    implemented and initialized by torchvision.

    Shapes: images (B, in_channels, H, W) -> features (B, 1024) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        stem: ``imagenet`` (7x7 convolution of stride 2, max-pooling) for about 224x224, at least 29x29; ``small``
            (3x3 convolution of stride 1, no pooling) for CIFAR and the like, at least 8x8.

    Raises:
        ValueError: if ``stem`` is another word; in `features`, for images too small for the stem.

    >>> sum(p.numel() for p in DenseNet121(3, 10, stem="small").parameters())
    6956426
    """

    def __init__(self, in_channels: int, num_classes: int, stem: Literal["small", "imagenet"] = "imagenet") -> None:
        from torchvision.models import densenet121  # slow to import, so only with the network

        super().__init__(1024, num_classes)
        self.stem = stem
        self.body = densenet121().features
        if stem == "small":
            self.body.conv0 = nn.Conv2d(in_channels, 64, 3, padding=1, bias=False)
            self.body.pool0 = nn.Identity()
        else:
            self.body.conv0 = nn.Conv2d(in_channels, 64, 7, 2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.body.conv0.weight)

    @property
    def map_layers(self) -> tuple[nn.Module, ...]:
        """The last three of the four dense blocks."""
        return self.body.denseblock2, self.body.denseblock3, self.body.denseblock4

    def features(self, x: Tensor) -> Tensor:
        smallest = 8 if self.stem == "small" else 29
        if min(x.shape[2:]) < smallest:
            other = "" if self.stem == "small" else ", or take stem='small'"
            raise ValueError(
                f"DenseNet121 with the {self.stem} stem needs images of {smallest}x{smallest} or more, not "
                f"{x.shape[2]}x{x.shape[3]}: resize them{other}"
            )
        y: Tensor = self.body(x)
        return y.relu().mean((2, 3))
