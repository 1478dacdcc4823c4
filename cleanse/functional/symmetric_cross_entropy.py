"""Symmetric cross-entropy: a loss that wrong labels pull at less than at cross-entropy."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def symmetric_cross_entropy(
    logits: Tensor, label: Tensor, alpha: float = 0.1, beta: float = 1.0, floor: float = 1e-4
) -> Tensor:
    """alpha CE + beta RCE of each row, where RCE exchanges label and prediction: -sum_k p_k log q_k.

    Wang et al. 2019, "Symmetric Cross Entropy for Robust Learning with Noisy Labels", arXiv 1908.06112. The logarithm
    of the label's zeros is that of ``floor``, so that RCE is -log(floor) (1 - p) where p is the label's probability.
    The defaults are those with which the published code of Huang et al. 2022 (arXiv 2202.03423) and of Gao et al. 2023
    (arXiv 2303.12993) ranks images (D260).

    Args:
        logits: (n, C) float.
        label: (n,) int64, in 0..C-1.
        alpha: weight of cross-entropy.
        beta: weight of reverse cross-entropy.
        floor: in (0, 1).

    Returns:
        (n,) float.

    >>> logits = torch.tensor([[0.3, 0.7]]).log()
    >>> round(symmetric_cross_entropy(logits, torch.tensor([0]), alpha=0.0).item(), 3)
    6.447
    """
    logits = logits.float()
    probability = logits.softmax(1).gather(1, label[:, None]).squeeze(1)
    reverse = -torch.tensor(floor).log().item() * (1 - probability)
    return alpha * cross_entropy(logits, label, reduction="none") + beta * reverse
