"""TMR: what the trigger alone brings about."""

from torch import Tensor

from cleanse.metrics.share import Share, check_same_length, eligible, share


def targeted_misclassification_rate(
    prediction_clean: Tensor, prediction_triggered: Tensor, true_label: Tensor, target: int, source: int | None = None
) -> Tensor:
    """TMR: the share of eligible images that are right without the trigger and the target with it (004, Eq. 7).

    The paper's count is divided by the number of eligible images, those that ASR is measured on (SPEC A.3.20).

    Args:
        prediction_clean: (n,) int64, for the images without the trigger.
        prediction_triggered: (n,) int64, for the same images with it.
        true_label: (n,) int64.
        target: the attack's target class.
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


class TargetedMisclassificationRate(Share):
    """`targeted_misclassification_rate` over batches and processes.

    Args:
        target: the attack's target class.
        source: the attack's source class, if it has one.
    """

    higher_is_better = False

    def __init__(self, target: int, source: int | None = None) -> None:
        super().__init__()
        self.target, self.source = target, source

    def update(self, prediction_clean: Tensor, prediction_triggered: Tensor, true_label: Tensor) -> None:
        """Count a batch; arguments as in `targeted_misclassification_rate`."""
        check_same_length(
            prediction_clean=prediction_clean, prediction_triggered=prediction_triggered, true_label=true_label
        )
        hit = (prediction_clean == true_label) & (prediction_triggered == self.target)
        self.add(hit, eligible(true_label, self.target, self.source))
