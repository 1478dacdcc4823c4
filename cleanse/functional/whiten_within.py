"""Features in which every direction has the spread of one class's images: a rare, constant change stands out."""

import torch
from torch import Tensor

from cleanse.functional._finite import check_finite


def whiten_within(features: Tensor, label: Tensor, ridge: float = 0.02, block: int = 4096) -> Tensor:
    """Whiten by the pooled within-class covariance (of standardized features, plus a ridge).

    A trigger changes features in a direction in which natural images hardly differ; divided by that small spread it is
    far from everything. In early features of a frozen network (averages of 8x8 cells, 24 channels) a 3x3 patch lies 22
    standard deviations from the same images without it, in the final, pooled features 1. The within-class covariance
    is that of SCAn (Tang et al. 2019, arXiv 1908.00686). Poison in the covariance shortens the
    trigger's direction but does not turn it (Sherman-Morrison).

    Args:
        features: (n, p) float.
        label: (n,) int64.
        ridge: added to the diagonal of the correlation matrix; keeps few images from being told apart by noise.
        block: rows at a time.

    Returns:
        (n, p) float, centered on the mean of all images (not of the class).

    Raises:
        ValueError: other shapes, a ridge that is not positive, features that are not finite or that are all equal.

    >>> features = torch.tensor([[0.0, 1.0], [2.0, 1.0], [0.0, 7.0], [2.0, 7.0]])
    >>> whiten_within(features, torch.tensor([0, 0, 1, 1]), ridge=1.0)[:, 0].tolist()
    [-0.7071067690849304, 0.7071067690849304, -0.7071067690849304, 0.7071067690849304]
    """
    n = len(features)
    if features.ndim != 2 or label.shape != (n,) or n < 2:
        raise ValueError(f"features are (n, p) and labels (n,), not {tuple(features.shape)} and {tuple(label.shape)}")
    if not ridge > 0:
        raise ValueError(f"ridge is above 0, not {ridge}")
    check_finite(features)
    size = label.bincount()
    center = features.new_zeros(len(size), features.shape[1]).index_add_(0, label, features)
    center /= size.clamp(min=1)[:, None]
    covariance = features.new_zeros(features.shape[1], features.shape[1])
    for start in range(0, n, block):
        rows = slice(start, start + block)
        residual = features[rows] - center[label[rows]]
        covariance += residual.T @ residual / n
    spread = covariance.diagonal().sqrt()
    if not (spread > 0).any():
        raise ValueError("all images of each class have equal features")
    spread = torch.where(spread > 1e-6 * spread.max(), spread, torch.inf)  # constant columns become 0
    correlation = covariance / spread / spread[:, None]
    correlation.diagonal().add_(ridge)
    factor = torch.linalg.cholesky(correlation)
    mean = features.mean(0)
    white = torch.empty_like(features)
    for start in range(0, n, block):
        rows = slice(start, start + block)
        scaled = (features[rows] - mean) / spread
        white[rows] = torch.linalg.solve_triangular(factor, scaled.T, upper=False).T
    return white
