"""Which classes score far below the others, without a number that says what low is."""

import torch
from torch import Tensor


def outlying_low(score: Tensor, threshold: float = 3.5, floor: float = 0.01) -> tuple[Tensor, Tensor]:
    """Flag scores that lie far below those of the other classes, in robust deviations of their logarithms.

    ``z_y = (median of log s - log s_y) / (1.4826 MAD of log s)``. For S_ND: how low an unpoisoned class's is depends on
    the embedding, but on ratios more than on differences, as it grows with the squared distance between classes; hence
    the logarithm. Ours, not the paper's, which has an absolute 0.6.

    3.5 is the usual cut-off of a MAD score (Iglewicz and Hoaglin 1993). Of ten classes whose log-scores are normal it
    flags one or more in 7 % of the cases, 5.0 does in 2 %. Two classes are never told apart.

    Args:
        score: (C,) float, such as S_ND in nats per dimension; infinite ones (classes without images) count for nothing
            and are not flagged.
        threshold: of z, to be exceeded.
        floor: scores below it, which may be negative, count as it; also the smallest deviation of the logarithms that z
            is measured in, so that classes which are all alike are not told apart by less than a hundredth.

    Returns:
        flagged: (C,) bool.
        z: (C,) float, how many deviations below the others; negative above them, -inf where the score is infinite.

    Raises:
        ValueError: no finite score, NaN, or an argument that is not positive.

    >>> flagged, z = outlying_low(torch.tensor([3.4, 0.9, 4.1, 3.8, 3.0, 4.4]))
    >>> flagged.tolist(), round(z[1].item(), 1)
    ([False, True, False, False, False, False], 6.0)
    """
    if score.ndim != 1 or score.isnan().any():
        raise ValueError(f"score is (C,) numbers, not {tuple(score.shape)} with {int(score.isnan().sum())} NaN")
    if not threshold > 0 or not floor > 0:
        raise ValueError(f"threshold and floor are above 0, not {threshold} and {floor}")
    value = score.detach().to(torch.promote_types(score.dtype, torch.float32))
    known = value.isfinite()
    if not known.any():
        raise ValueError(f"none of the {len(score)} scores is finite: there is nothing to compare")
    log = value[known].clamp(min=floor).log()
    median = log.quantile(0.5)
    deviation = 1.4826 * (log - median).abs().quantile(0.5)
    z = torch.full_like(value, -torch.inf)
    z[known] = (median - log) / deviation.clamp(min=floor)
    return z > threshold, z
