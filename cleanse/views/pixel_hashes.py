"""Which images are the same in every pixel."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def pixel_hashes(image: Tensor) -> list[bytes]:
    """A hash of each image's pixels.

    Args:
        image: (N, C, H, W) uint8; may lie in a file that is larger than the memory.
    """
    part = max(1, 2**26 // max(1, image[:1].numel()))
    return [
        hashlib.blake2b(pixels, digest_size=16).digest()
        for some in torch.split(image, part)
        for pixels in some.contiguous().numpy()
    ]


def groups_of(hashes: Sequence[bytes]) -> Tensor:
    """(N,) int64: for each image the position of the first one that is the same.

    A vote that goes over the distinct values of this counts copies of an image once.

    >>> groups_of([b"a", b"b", b"a"])
    tensor([0, 1, 0])
    """
    first: dict[bytes, int] = {}
    return torch.tensor([first.setdefault(found, i) for i, found in enumerate(hashes)], dtype=torch.int64)
