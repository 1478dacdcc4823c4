"""TMR: what the trigger alone brings about."""

from torch import Tensor

from cleanse.metrics.share import check_same_length, eligible, share


def targeted_misclassification_rate(
    prediction_clean: Tensor,
    prediction_triggered: Tensor,
    true_label: Tensor,
    target: int | Tensor,
    source: int | None = None,
) -> Tensor:
    """TMR: the share of eligible images that are right without the trigger and the target with it .

    Jin, Sun, Rinard 2021 (arXiv 2105.03692, Eq. 7) count them; here they are divided by the eligible images, those that
    ASR is measured on (D11).

    Args:
        prediction_clean: (n,) int64, for the images without the trigger.
        prediction_triggered: (n,) int64, for the same images with it.
        true_label: (n,) int64.
        target: the attack's target class, or (n,) int64, one for each image.
        source: the attack's source class, if it has one.

    Returns:
        A scalar; NaN where no image is eligible.

    Raises:
        ValueError: columns of different lengths.

    >>> import torch
    >>> clean, triggered = torch.tensor([1, 2, 1]), torch.tensor([0, 0, 1])
    >>> targeted_misclassification_rate(clean, triggered, torch.tensor([1, 1, 1]), target=0).item()
    0.3333333333333333
    """
    check_same_length(
        prediction_clean=prediction_clean, prediction_triggered=prediction_triggered, true_label=true_label
    )
    hit = (prediction_clean == true_label) & (prediction_triggered == target)
    return share(hit, eligible(true_label, target, source))
