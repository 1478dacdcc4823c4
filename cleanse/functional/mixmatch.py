"""MixMatch: learn from images with and without labels at once, from guessed labels and mixed images.

Berthelot et al. 2019, arXiv 1905.02249: its steps as functions; `cleanse.modules.MixMatch` puts them together.
"""

from torch import Tensor
from torch.nn.functional import log_softmax


def sharpen(probability: Tensor, temperature: float = 0.5) -> Tensor:
    """Distributions (n, C) to the power of 1 / temperature, each with sum 1 again: more certain below 1.

    >>> import torch
    >>> [round(p, 3) for p in sharpen(torch.tensor([[0.6, 0.4]])).flatten().tolist()]
    [0.692, 0.308]
    """
    powers = probability ** (1 / temperature)
    return powers / powers.sum(1, keepdim=True)


def mix(values: Tensor, order: Tensor, share: float) -> Tensor:
    """``share`` of each row of (n, ...) values, and the rest of the row that ``order`` (n,) names.

    >>> import torch
    >>> mix(torch.tensor([0.0, 10.0]), torch.tensor([1, 0]), 0.75).tolist()
    [2.5, 7.5]
    """
    return share * values + (1 - share) * values[order]


def mixmatch_loss(logits: Tensor, wanted: Tensor, labeled: int, unlabeled_weight: float) -> Tensor:
    """Cross-entropy on the rows with a label, and the squared error of the probabilities on the others.

    Args:
        logits: (n, C) float; the first ``labeled`` rows have a label.
        wanted: (n, C) float, distributions.
        labeled: how many rows have a label, at least 1.
        unlabeled_weight: of the squared error, which is the mean over rows and classes.

    Returns:
        () float.
    """
    entropy = -(wanted[:labeled] * log_softmax(logits[:labeled], 1)).sum(1).mean()
    if len(logits) == labeled:
        return entropy
    return entropy + unlabeled_weight * (logits[labeled:].softmax(1) - wanted[labeled:]).square().mean()


def ramp(progress: float) -> float:
    """The share of the unlabeled weight at ``progress``: from 0 to 1, then 1.

    >>> ramp(0.25), ramp(1.5)
    (0.25, 1.0)
    """
    return min(max(progress, 0.0), 1.0)
