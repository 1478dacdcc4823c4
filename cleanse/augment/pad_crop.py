"""Shift images by a few pixels."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cleanse.augment._batch import check_batch, like
from cleanse.utils.checked import Checked


def pad_crop(image: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Pad images (B, C, H, W) with zeros and cut out H x W from row ``top`` (B,) and column ``left`` (B,) on.

    ``top`` and ``left`` are int64 from 0 to 2 * padding; ``padding`` for both gives the image back.

    >>> pad_crop(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([1]), torch.tensor([0]), padding=1).tolist()
    [[[[0.0, 1.0]]]]
    """
    height, width = image.shape[2:]
    # A view of all windows, (B, C, 2 * padding + 1, 2 * padding + 1, H, W); only the chosen ones are copied.
    windows = F.pad(image, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
    return windows[torch.arange(len(image), device=image.device), :, top, left]


class PadCrop(Checked, nn.Module):
    """Pad with zeros and crop back to the size at a uniformly random place, as Kornia's ``RandomCrop``.

    Shapes: (B, C, H, W) float -> the same.

    Args:
        padding: pixels added on each side; an image moves by at most so many in each direction.

    Raises:
        ValueError: if ``padding`` is negative, or the images are not a float batch.

    >>> PadCrop(padding=4)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, padding: int = 4) -> None:
        super().__init__()
        if padding < 0:
            raise ValueError(f"padding is a number of pixels, 0 or more, not {padding}")
        self.padding = padding

    def forward(self, image: Tensor) -> Tensor:
        check_batch(image)
        top, left = torch.randint(2 * self.padding + 1, (2, len(image)), device=image.device)
        return like(pad_crop(image, top, left, self.padding), image)

    def extra_repr(self) -> str:
        return f"padding={self.padding}"
