"""SecretDecoder: read the bits that a SecretEncoder has hidden in an image."""

import math

from torch import Tensor, nn

from cleanse.networks.secret_encoder import he_initialize

STRIDES = (2, 1, 2, 1, 2, 2, 2)
WIDTHS = (1, 1, 2, 2, 2, 4, 4)


class SecretDecoder(nn.Module):
    """Seven 3x3 convolutions, five of which halve the size, and two dense layers: one logit a bit.

    The decoder of StegaStamp (see `SecretEncoder`), with 0.5 taken off the image, ReLU and He's initialization; without
    its spatial transformer, which straightens photographs of prints.

    Shapes: images (B, channels, height, width) in [0, 1] -> logits (B, bits), positive for 1.

    Args:
        bits: of the secret.
        channels: of the images.
        height, width: of the images, any size.
        base: channels of the first convolutions; the dense layer has 16 times as many.

    >>> import torch
    >>> SecretDecoder(20, 1, 8, 8)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 20])
    """

    def __init__(self, bits: int, channels: int, height: int, width: int, base: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        wide = [base * w for w in WIDTHS]
        for into, out, stride in zip((channels, *wide), wide, STRIDES, strict=False):
            layers += [nn.Conv2d(into, out, 3, stride=stride, padding=1), nn.ReLU()]
        halved = math.prod(STRIDES)
        flat = wide[-1] * math.ceil(height / halved) * math.ceil(width / halved)
        dense = (nn.Linear(flat, 16 * base), nn.ReLU(), nn.Linear(16 * base, bits))
        self.body = nn.Sequential(*layers, nn.Flatten(), *dense)
        he_initialize(self)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.body(image - 0.5)
        return logits
