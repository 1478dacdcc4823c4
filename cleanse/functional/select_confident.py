"""Which pseudo-labels to believe: the most confident ones of every class, more of them in every iteration.

Pal, Wang, Yao, Liu 2023, "Towards Understanding How Self-training Tolerates Data Backdoor Poisoning", Algorithm 1.
"""

import torch
from torch import Tensor


def class_quota(images: int, num_classes: int, iteration: int, fraction: float = 0.3) -> int:
    """How many images of each class may be taken: round(min(k n, 1) |D| / C), where the paper has k n |D| / C (D140).

    With k N below 1 the last iteration N takes that share of the images, and the rest is never used.

    Args:
        images: |D|, labeled and unlabeled.
        num_classes: C.
        iteration: n, from 1.
        fraction: k, in (0, 1].

    Raises:
        ValueError: an argument out of range, or a quota of no image at all.

    >>> [class_quota(50_000, 10, n) for n in (1, 2, 3, 4)]
    [1500, 3000, 4500, 5000]
    """
    if iteration < 1 or num_classes < 1:
        raise ValueError(f"iteration and num_classes are at least 1, not {iteration} and {num_classes}")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is a share of the images, in (0, 1], not {fraction}")
    quota = round(min(fraction * iteration, 1.0) * images / num_classes)
    if not quota:
        raise ValueError(
            f"fraction={fraction} of {images} images in iteration {iteration} is less than one for each of "
            f"{num_classes} classes: raise fraction, or use more images"
        )
    return quota


def select_confident(label: Tensor, confidence: Tensor, quota: int) -> Tensor:
    """The ``quota`` most confident images of every predicted class (D141, D142).

    A class with fewer candidates gives all of them, without making up for it; one that nobody predicts gives none.
    Of equal confidences, the lower row comes first.

    Args:
        label: (n,) int64, as predicted.
        confidence: (n,) float.
        quota: the most images of one class.

    Returns:
        (n,) bool.

    Raises:
        ValueError: another number of labels than of confidences, a quota below 1, or a confidence that is not finite.

    >>> select_confident(torch.tensor([0, 0, 0, 2]), torch.tensor([0.5, 0.9, 0.9, 0.1]), quota=1).tolist()
    [False, True, False, True]
    """
    if label.ndim != 1 or label.shape != confidence.shape:
        raise ValueError(f"label and confidence are both (n,), not {tuple(label.shape)} and {tuple(confidence.shape)}")
    if quota < 1:
        raise ValueError(f"quota is a number of images, at least 1, not {quota}")
    if not confidence.isfinite().all():
        raise ValueError(f"{int((~confidence.isfinite()).sum())} of {len(confidence)} confidences are not finite")
    order = confidence.argsort(descending=True, stable=True)
    order = order[label[order].argsort(stable=True)]  # class by class, the most confident first
    count = torch.unique_consecutive(label[order], return_counts=True)[1]
    begins = (count.cumsum(0) - count).repeat_interleave(count)
    chosen = torch.zeros_like(label, dtype=torch.bool)
    chosen[order[torch.arange(len(label), device=label.device) - begins < quota]] = True
    return chosen
