"""Relabel accuracy: whether a defense finds the class that the poison came from."""

from torch import Tensor

from cleanse.metrics.share import Share, check_same_length, share


def relabel_accuracy(new_label: Tensor, true_label: Tensor, relabeled_poison: Tensor) -> Tensor:
    """The share of relabeled poison whose new label is the true one.

    Args:
        new_label: (n,) int64.
        true_label: (n,) int64.
        relabeled_poison: (n,) bool, the poisoned images that the verdict relabels.

    Returns:
        A scalar; NaN where no poison is relabeled.

    Raises:
        ValueError: columns of different lengths.

    >>> import torch
    >>> relabeled = torch.tensor([True, True, False])
    >>> relabel_accuracy(torch.tensor([1, 2, 3]), torch.tensor([1, 1, 3]), relabeled).item()
    0.5
    """
    check_same_length(new_label=new_label, true_label=true_label, relabeled_poison=relabeled_poison)
    return share(new_label == true_label, relabeled_poison.bool())


class RelabelAccuracy(Share):
    """`relabel_accuracy` over batches and processes."""

    higher_is_better = True

    def update(self, new_label: Tensor, true_label: Tensor, relabeled_poison: Tensor) -> None:
        """Count a batch; arguments as in `relabel_accuracy`."""
        check_same_length(new_label=new_label, true_label=true_label, relabeled_poison=relabeled_poison)
        self.add(new_label == true_label, relabeled_poison.bool())
