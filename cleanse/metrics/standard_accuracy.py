"""SA: what a user of the classifier notices."""

import torch
from torch import Tensor

from cleanse.metrics.share import check_same_length, share


def standard_accuracy(prediction: Tensor, true_label: Tensor) -> Tensor:
    """SA: the share of clean test images that are classified as their true class.

    Args:
        prediction: (n,) int64, for the images without the trigger.
        true_label: (n,) int64.

    Returns:
        A scalar; NaN for no image.

    Raises:
        ValueError: columns of different lengths.

    >>> standard_accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 2, 3])).item()
    0.75
    """
    check_same_length(prediction=prediction, true_label=true_label)
    return share(prediction == true_label, torch.ones_like(true_label, dtype=torch.bool))
