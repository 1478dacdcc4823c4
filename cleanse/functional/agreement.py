"""Self-training on the samples that were kept: who else is let in, by whether a classifier agrees with the label.

Jin, Sun, Rinard 2021 (arXiv 2105.03692), appendix B.1, and the code that the authors released in 2023 (D124).
"""

import torch
from torch import Tensor


def add_back(keep: Tensor, prediction: Tensor, label: Tensor) -> Tensor:
    """Rejected samples whose label the new classifier predicts are kept too: one step, as in appendix B.1.

    Args:
        keep: (n,) bool.
        prediction: (n,) int64.
        label: (n,) int64, as given.

    Returns:
        (n,) bool, never less than ``keep``.

    >>> add_back(torch.tensor([True, False, False]), torch.tensor([1, 1, 1]), torch.tensor([0, 1, 2])).tolist()
    [True, True, False]
    """
    return keep | (prediction == label)


def start_agreement(n: int) -> Tensor:
    """(n,) float32: the agreement before any classifier was asked, one half (D124)."""
    return torch.full((n,), 0.5)


def update_agreement(agreement: Tensor, prediction: Tensor, label: Tensor, decay: float = 0.8) -> Tensor:
    """A moving average of how often the classifier agrees with the label, as in the released code (D124).

    `keep_by_agreement` then says which samples the next round trains on; samples can also leave.

    Args:
        agreement: (n,) float, `start_agreement` at first.
        prediction: (n,) int64.
        label: (n,) int64, as given.
        decay: weight of the old value, in [0, 1].

    Returns:
        (n,) float.

    Raises:
        ValueError: decay out of range.

    >>> update_agreement(start_agreement(2), torch.tensor([3, 3]), torch.tensor([3, 0])).tolist()
    [0.6000000238418579, 0.4000000059604645]
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay is between 0 and 1, not {decay}")
    return decay * agreement + (1 - decay) * (prediction == label).to(agreement)


def keep_by_agreement(agreement: Tensor) -> Tensor:
    """(n,) bool: the samples that were agreed with more often than not, agreement > 1/2 (D124)."""
    return agreement > 0.5
