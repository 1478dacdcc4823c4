"""Whether one class scores far below all others, without a number that says what low is."""

import torch
from torch import Tensor


def outlying_low(score: Tensor, ratio: float = 2.5, floor: float = 0.01) -> tuple[Tensor, Tensor]:
    """Flag the class with the lowest score if the next one is more than ``ratio`` times as high.

    For S_ND: how low an unpoisoned class's is depends on the embedding, but by ratios more than by differences, as it
    grows with the squared distance between classes. Ours, not the paper's, which has an absolute 0.6. Deviations from
    the median say less: clean classes differ among themselves by factors of ten, seldom at the low end.

    One class at most is flagged, so of several targets none may be. Three classes are the least that can be told apart.

    Args:
        score: (C,) float, such as S_ND in nats per dimension; infinite ones (classes without images) count for nothing
            and are not flagged.
        ratio: of the second lowest to the lowest, to be exceeded.
        floor: scores below it, which may be negative, count as it.

    Returns:
        flagged: (C,) bool.
        apart: (C,) float, the lowest other score as a multiple of the own; above 1 for the lowest only, 0 where the
            score is infinite.

    Raises:
        ValueError: no finite score, NaN, a ratio of 1 or less, or a floor that is not positive.

    >>> flagged, apart = outlying_low(torch.tensor([3.4, 0.9, 4.1, 3.6, 3.0, 4.4]))
    >>> flagged.tolist(), round(apart[1].item(), 2)
    ([False, True, False, False, False, False], 3.33)
    """
    if score.ndim != 1 or score.isnan().any():
        raise ValueError(f"score is (C,) numbers, not {tuple(score.shape)} with {int(score.isnan().sum())} NaN")
    if not ratio > 1 or not floor > 0:
        raise ValueError(f"ratio is above 1 and floor above 0, not {ratio} and {floor}")
    value = score.detach().to(torch.promote_types(score.dtype, torch.float32))
    known = value.isfinite()
    if not known.any():
        raise ValueError(f"none of the {len(score)} scores is finite: there is nothing to compare")
    value = value.clamp(min=floor)
    apart = torch.zeros_like(value)
    if known.sum() == 1:
        return known & False, apart
    lowest, second = value[known].topk(2, largest=False).values
    apart[known] = torch.where(value[known] > lowest, lowest, second) / value[known]
    return (apart > ratio) & (known.sum() > 2), apart
