"""The same image under more than one label."""

import hashlib

from torch import Tensor


def conflicting_labels(image: Tensor, label: Tensor) -> list[list[int]]:
    """Groups of equal images that do not all have the same label: at least one of each group's labels is wrong.

    Args:
        image: (N, C, H, W) uint8; equal is equal in every pixel.
        label: (N,) int64; -1 where it is withheld, which contradicts nothing.

    Returns:
        Row numbers of each group, in order; groups by their first row.

    >>> import torch
    >>> conflicting_labels(torch.tensor([5, 6, 5, 6, 7]).byte().view(5, 1, 1, 1), torch.tensor([0, 1, 1, 1, 0]))
    [[0, 2]]
    """
    groups: dict[bytes, list[int]] = {}
    labels = label.tolist()
    for row, pixels in enumerate(image.contiguous().numpy()):
        if labels[row] >= 0:
            groups.setdefault(hashlib.blake2b(pixels, digest_size=16).digest(), []).append(row)
    return [group for group in groups.values() if len({labels[row] for row in group}) > 1]
