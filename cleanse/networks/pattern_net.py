"""PatternNet: an image in, a picture of the same size out; what makes a trigger from an image."""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class PatternNet(nn.Module):
    """A small convolutional encoder and decoder, of any image size.

    Two convolutions with a stride of 2, two that are scaled back up, each with group norm (so that an image's answer
    does not depend on its batch) and ReLU; a sigmoid at the end.

    Shapes: images (B, in_channels, H, W) in [0, 1] -> (B, out_channels, H, W) in [0, 1].

    Args:
        in_channels: of the images.
        out_channels: of the answer.
        width: channels of the first convolution.

    >>> PatternNet(3, 1, width=4)(torch.zeros(2, 3, 9, 8)).shape
    torch.Size([2, 1, 9, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, width: int = 32) -> None:
        super().__init__()
        self.down = nn.ModuleList([_block(in_channels, width, 2), _block(width, 2 * width, 2)])
        self.up = nn.ModuleList([_block(2 * width, width, 1), _block(width, width, 1)])
        self.last = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        sizes, x = [], image
        for block in self.down:
            sizes.append(x.shape[2:])
            x = block(x)
        for block, size in zip(self.up, reversed(sizes), strict=True):
            x = block(interpolate(x, size=size, mode="nearest"))
        answer: Tensor = self.last(x)
        return torch.sigmoid(answer)


def _block(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inside, outside, 3, stride, padding=1), nn.GroupNorm(1, outside), nn.ReLU())
