"""SecretEncoder: an image and a few bits in, a faint change of the image that carries the bits out."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

SMALLEST_PLANE = 8  # pixels a side, or the image's own side if that is shorter


class SecretEncoder(nn.Module):
    """Hide a secret in an image: a U-Net draws a residual from the image and a plane that is made of the bits.

    Tancik, Mildenhall, Ng, "StegaStamp: Invisible Hyperlinks in Physical Photographs", CVPR 2020,
    https://arxiv.org/abs/1904.05343: a dense layer with ReLU makes a coarse plane of the bits, as many channels as the
    image has, which is enlarged (nearest) and laid behind the image; 0.5 is taken off both. Five 3x3 convolutions (32,
    32, 64, 128 and 256 channels, each but the first halving the size) go down, four steps of enlarging, convolving,
    joining with the level above and convolving go up, the last one joined with the input again; ReLU after each, He's
    initialization. A last 3x3 and a 1x1 convolution give the residual.

    Departures:
        * Any size: a step up takes the size of the level that it joins, and its convolution is 3x3, not 2x2.
        * The plane is an eighth of the image's side, as there (50 of 400 pixels), but no smaller than 8 pixels.

    Shapes: images (B, channels, height, width) in [0, 1], bits (B, bits) -> residuals (B, channels, height, width).

    Args:
        bits: of the secret.
        channels: of the images.
        height, width: of the images, any size.
        base: channels of the first level.

    >>> encoder = SecretEncoder(20, 3, 32, 32)
    >>> encoder(torch.zeros(2, 3, 32, 32), torch.ones(2, 20)).shape, sum(p.numel() for p in encoder.parameters())
    (torch.Size([2, 3, 32, 32]), 1215939)
    """

    def __init__(self, bits: int, channels: int, height: int, width: int, base: int = 32) -> None:
        super().__init__()
        self.plane = (channels, plane_side(height), plane_side(width))
        self.dense = nn.Linear(bits, self.plane[0] * self.plane[1] * self.plane[2])
        wide = (base, base, 2 * base, 4 * base, 8 * base)
        self.down = nn.ModuleList(
            nn.Conv2d(into, out, 3, stride=1 if i == 0 else 2, padding=1)
            for i, (into, out) in enumerate(zip((2 * channels, *wide), wide, strict=False))
        )
        self.up = nn.ModuleList(
            nn.Conv2d(into, out, 3, padding=1) for into, out in zip(wide[:0:-1], wide[-2::-1], strict=True)
        )
        joined = [2 * w for w in wide[-2:0:-1]] + [2 * wide[0] + 2 * channels]
        self.join = nn.ModuleList(
            nn.Conv2d(into, out, 3, padding=1) for into, out in zip(joined, wide[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(wide[0], wide[0], 3, padding=1)
        self.residual = nn.Conv2d(wide[0], channels, 1)
        he_initialize(self)

    def forward(self, image: Tensor, bits: Tensor) -> Tensor:
        plane = self.dense(bits.to(image.dtype) - 0.5).relu().unflatten(1, self.plane)
        x = torch.cat((image - 0.5, interpolate(plane, image.shape[2:], mode="nearest")), 1)
        first, levels = x, []
        for down in self.down:
            x = down(x).relu()
            levels.append(x)
        for up, join, level in zip(self.up, self.join, levels[-2::-1], strict=True):
            x = up(interpolate(x, level.shape[2:], mode="nearest")).relu()
            parts = (level, x, first) if level is levels[0] else (level, x)
            x = join(torch.cat(parts, 1)).relu()
        residual: Tensor = self.residual(self.last(x).relu())
        return residual


def plane_side(side: int) -> int:
    """Side of the plane of bits for an image's side.

    >>> [plane_side(side) for side in (5, 8, 32, 224, 400)]
    [5, 8, 8, 28, 50]
    """
    return max(side // 8, min(side, SMALLEST_PLANE))


def he_initialize(network: nn.Module) -> None:
    """Draw the weights of all convolutions and dense layers as He et al. (2015) do for ReLU; biases are zero."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
