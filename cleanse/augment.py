"""Batched augmentation on the device: random per image, one call per batch.

Every module takes and returns float images (B, C, H, W) in [0, 1] of the same shape, type and memory format, and draws
from torch's global generator of the images' device, so that a seeded run repeats. Kornia is the reference: the rotation
calls it; flip and crop are written out because that is faster for channels-last images, the default
(``benchmarks/augment.py``), and the tests compare them with Kornia's image by image. Any Kornia augmentation can be
used next to these.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def flip(image: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the ``chosen`` (B,) bool of the images (B, C, H, W) left to right.

    >>> flip(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([True])).tolist()
    [[[[1.0, 0.0]]]]
    """
    return torch.where(chosen[:, None, None, None], image.flip(-1), image)


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


def rotate(image: Tensor, degrees: Tensor) -> Tensor:
    """Rotate each of the images (B, C, H, W) counter-clockwise by its ``degrees`` (B,); bilinear, zeros come in.

    >>> rotate(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([90.0])).round().tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """
    from kornia.geometry.transform import rotate as kornia_rotate  # slow to import, so only when it is used

    rotated: Tensor = kornia_rotate(image.float(), degrees.float())
    return rotated.to(image.dtype)


class Flip(nn.Module):
    """Mirror each image left to right with probability ``p``, as Kornia's ``RandomHorizontalFlip``.

    Shapes: (B, C, H, W) float -> the same.

    Args:
        p: probability, in [0, 1].

    Raises:
        ValueError: if ``p`` is not in [0, 1], or the images are not a float batch.

    >>> Flip(p=1.0)(torch.tensor([[[[0.0, 1.0]]]])).tolist()
    [[[[1.0, 0.0]]]]
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability between 0 and 1, not {p}")
        self.p = p

    def forward(self, image: Tensor) -> Tensor:
        _check(image)
        return _like(flip(image, torch.rand(len(image), device=image.device) < self.p), image)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class PadCrop(nn.Module):
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
        _check(image)
        top, left = torch.randint(2 * self.padding + 1, (2, len(image)), device=image.device)
        return _like(pad_crop(image, top, left, self.padding), image)

    def extra_repr(self) -> str:
        return f"padding={self.padding}"


class Rotation(nn.Module):
    """Rotate by a uniformly random angle, bilinear and with zeros coming in, as Kornia's ``RandomRotation(p=1)``.

    Shapes: (B, C, H, W) float -> the same.

    Args:
        degrees: largest angle, in either direction.

    Raises:
        ValueError: if ``degrees`` is negative, or the images are not a float batch.

    >>> Rotation(degrees=0)(torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])).tolist()
    [[[[0.0, 1.0], [1.0, 0.0]]]]
    """

    def __init__(self, degrees: float = 2) -> None:
        super().__init__()
        if degrees < 0:
            raise ValueError(f"degrees is the largest angle, 0 or more, not {degrees}")
        self.degrees = degrees

    def forward(self, image: Tensor) -> Tensor:
        _check(image)
        degrees = torch.rand(len(image), device=image.device) * (2 * self.degrees) - self.degrees
        return _like(rotate(image, degrees), image)

    def extra_repr(self) -> str:
        return f"degrees={self.degrees}"


def _check(image: Tensor) -> None:
    if image.ndim != 4 or not image.is_floating_point():
        raise ValueError(
            f"augmentation needs a batch (B, C, H, W) of float images in [0, 1], not {image.dtype} of shape "
            f"{tuple(image.shape)}: divide uint8 images by 255, and index one image with [None]"
        )


def _like(image: Tensor, original: Tensor) -> Tensor:
    """``image`` in the memory format of ``original``."""
    if original.is_contiguous() or not original.is_contiguous(memory_format=torch.channels_last):
        return image.contiguous()
    return image.contiguous(memory_format=torch.channels_last)
