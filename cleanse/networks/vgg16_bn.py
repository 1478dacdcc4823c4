"""VGG16BN: torchvision's VGG-16 with batch norm."""

from torch import Tensor, nn

from cleanse.networks.base import Network


class VGG16BN(Network):
    """VGG-16 with batch norm and two hidden linear layers; the features are the second one's activations.

    Source: Simonyan and Zisserman 2015 (https://arxiv.org/abs/1409.1556), as implemented and initialized by
    torchvision. Pal et al. 2023 say "VGG-16"; batch norm, the 4096-wide head and the 7x7 pooling in front of it, which
    repeats the one remaining cell of a 32x32 image 49 times, are those of the code they build on.

    Shapes: images (B, in_channels, H, W) from 32x32 -> features (B, head_width) -> logits (B, num_classes).

    Args:
        in_channels: 1 for gray, 3 for color images.
        num_classes: number of classes.
        head_width: width of the two hidden linear layers. With 4096, they hold 119 of the 134 million parameters.

    Raises:
        ValueError: in `features`, for images smaller than 32x32.

    >>> import torch
    >>> with torch.device("meta"):
    ...     network = VGG16BN(3, 10)
    >>> sum(p.numel() for p in network.parameters())
    134309962
    """

    def __init__(self, in_channels: int, num_classes: int, head_width: int = 4096) -> None:
        from torchvision.models.vgg import cfgs, make_layers  # slow to import, so only with the network

        super().__init__(head_width, num_classes)
        convolutions = make_layers(cfgs["D"], batch_norm=True)
        convolutions[0] = nn.Conv2d(in_channels, 64, 3, padding=1)
        self.body = nn.Sequential(convolutions, nn.AdaptiveAvgPool2d(7), nn.Flatten())
        self.hidden = nn.Sequential(
            nn.Linear(512 * 7 * 7, head_width),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(head_width, head_width),
            nn.ReLU(),
            nn.Dropout(),
        )
        for layer in self.modules():  # torchvision's VGG, whose initialization this is, fixes the head's width
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, 0.01)
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def features(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 32:
            raise ValueError(
                f"VGG16BN halves an image five times and needs 32x32 or more, not {x.shape[2]}x{x.shape[3]}: "
                "resize the images, or take SmallResNet or PreActResNet18"
            )
        y: Tensor = self.hidden(self.body(x))
        return y
