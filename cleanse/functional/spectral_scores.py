"""How far images of a class lie along the direction in which its features vary most.

Tran, Li, Madry 2018, "Spectral Signatures in Backdoor Attacks" (arXiv 1811.00636), Algorithm 1.
"""

import torch
from torch import Tensor


def spectral_scores(features: Tensor, centered: bool = True) -> Tensor:
    """The squared projection of each row on the top right singular vector of the centered features.

    Args:
        features: (n, D) float, of the images of one class.
        centered: score the centered features, as Algorithm 1 says; False for the features as they are, as the authors'
            released code does: where the class's mean and the direction oppose each other, poison is then ranked below
            clean images (D245).

    Returns:
        (n,) float64, higher is more suspicious.

    Raises:
        ValueError: features that are not finite or not (n, D), or none.

    >>> spectral_scores(torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 3.0]])).tolist()
    [1.0, 1.0, 4.0]
    """
    if features.ndim != 2 or not len(features) or not features.isfinite().all():
        raise ValueError(f"features are (n, D) finite numbers with n of at least 1, not {tuple(features.shape)}")
    rows = features.detach().cpu().double()
    moved = rows - rows.mean(0)
    direction = torch.linalg.svd(moved, full_matrices=False).Vh[0]
    projected: Tensor = (moved if centered else rows) @ direction
    return projected.square()


def spectral_count(size: int, expected: float, multiple: float = 1.5) -> int:
    """How many images of a class to drop: ``multiple`` times those expected to be poisoned, at most half of the class.

    Args:
        size: n, of the class.
        expected: poisoned images in the class, epsilon.
        multiple: the paper's 1.5.

    >>> spectral_count(140, 42), spectral_count(140, 140)
    (63, 70)
    """
    return min(int(multiple * expected + 1e-9), size // 2)
