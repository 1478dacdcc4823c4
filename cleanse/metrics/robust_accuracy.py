"""RA: whether the classifier sees through the trigger."""

from torch import Tensor

from cleanse.metrics.share import check_same_length, eligible, share


def robust_accuracy(
    prediction_triggered: Tensor, true_label: Tensor, target: int | Tensor, source: int | None = None
) -> Tensor:
    """RA: the share of the images that ASR is measured on that are classified as their true class.

    Args:
        prediction_triggered: (n,) int64, for the images with the trigger.
        true_label: (n,) int64.
        target: the attack's target class, or (n,) int64, one for each image.
        source: the attack's source class, if it has one.

    Returns:
        A scalar; NaN where no image is eligible.

    Raises:
        ValueError: columns of different lengths.

    >>> import torch
    >>> robust_accuracy(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 1, 2]), target=0).item()
    0.3333333333333333
    """
    check_same_length(prediction_triggered=prediction_triggered, true_label=true_label)
    return share(prediction_triggered == true_label, eligible(true_label, target, source))
