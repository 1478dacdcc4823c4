"""The waves of the two-dimensional discrete cosine transform."""

import math

import torch
from torch import Tensor


def cosine_basis(size: int) -> Tensor:
    """The orthonormal DCT-II of a row: coefficients are ``basis @ row``, the row is ``basis.T @ coefficients``.

    Args:
        size: n, of the row.

    Returns:
        (n, n) float64: a wave in each row, from the constant one to the fastest.

    >>> (cosine_basis(2) * 2**0.5).round(decimals=4).tolist()
    [[1.0, 1.0], [1.0, -1.0]]
    """
    number = torch.arange(size, dtype=torch.float64)
    waves: Tensor = (math.pi / size * number[:, None] * (number + 0.5)).cos() * (2 / size) ** 0.5
    waves[0] /= 2**0.5
    return waves
