"""Relabel accuracy: whether a defense finds the class that an image truly has."""

from torch import Tensor

from cleanse.metrics.share import check_same_length, share


def relabel_accuracy(new_label: Tensor, true_label: Tensor, relabeled: Tensor) -> Tensor:
    """The share of relabeled images whose new label is the true one.

    Sabolic et al. 2024 (arXiv 2409.01185, Table 2) count every image that is relabeled; give the relabeled poison
    alone to see whether a defense finds where the poison came from (D10).

    Args:
        new_label: (n,) int64.
        true_label: (n,) int64.
        relabeled: (n,) bool, the images that count.

    Returns:
        A scalar; NaN where none is relabeled.

    Raises:
        ValueError: columns of different lengths.

    >>> import torch
    >>> relabeled = torch.tensor([True, True, False])
    >>> relabel_accuracy(torch.tensor([1, 2, 3]), torch.tensor([1, 1, 3]), relabeled).item()
    0.5
    """
    check_same_length(new_label=new_label, true_label=true_label, relabeled=relabeled)
    return share(new_label == true_label, relabeled.bool())
