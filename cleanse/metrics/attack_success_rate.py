"""ASR: what the attacker wants."""

from torch import Tensor

from cleanse.metrics.share import check_same_length, eligible, share


def attack_success_rate(
    prediction_triggered: Tensor, true_label: Tensor, target: int | Tensor, source: int | None = None
) -> Tensor:
    """ASR: the share of eligible triggered test images that are classified as the target.

    Eligible are the images whose true class is not the target, or only those of the source class for an attack that
    has one.

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
    >>> attack_success_rate(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 1, 1, 2]), target=0).item()
    0.6666666666666666
    """
    check_same_length(prediction_triggered=prediction_triggered, true_label=true_label)
    return share(prediction_triggered == target, eligible(true_label, target, source))
