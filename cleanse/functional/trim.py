"""Trim: keep the samples with the lowest losses, and some of every class.

Jin, Sun, Rinard 2021 (arXiv 2105.03692), Algorithm 2 and appendix B.1.
"""

import torch
from torch import Tensor


def trim(loss: Tensor, label: Tensor, fraction: float, class_fraction: float) -> Tensor:
    """The samples of lowest loss, over all classes together and within each class (Algorithm 2, line 7).

    A sample is kept when ``loss <= quantile(loss, fraction)`` or when the same holds within its class for
    ``class_fraction``. The quantile is the linearly interpolated one, so that distinct losses give exactly
    ``floor(fraction * (n - 1)) + 1`` samples; equal losses at the threshold are all kept. Every class that has a
    sample keeps at least one.

    Departures from the paper: its "beta |L| lowest" is the released code's quantile rule, and "additionally include" is
    a union (D114).

    Args:
        loss: (n,) float, any precision; infinite is allowed.
        label: (n,) int64.
        fraction: of all samples, in [0, 1].
        class_fraction: of each class, in [0, 1].

    Returns:
        (n,) bool, true where a sample stays.

    Raises:
        ValueError: no loss at all, a NaN among them (see `fill_nan`), another number of labels, or a fraction out of
            range.

    >>> loss = torch.tensor([0.1, 0.2, 0.3, 0.4, 5.0, 6.0])
    >>> trim(loss, torch.tensor([0, 0, 0, 0, 1, 1]), fraction=0.5, class_fraction=0.0).tolist()
    [True, True, True, False, True, False]
    """
    if loss.ndim != 1 or loss.shape != label.shape or not len(loss):
        raise ValueError(f"loss and label are (n,) with n > 0, not {tuple(loss.shape)} and {tuple(label.shape)}")
    for name, value in (("fraction", fraction), ("class_fraction", class_fraction)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is between 0 and 1, not {value}")
    if loss.isnan().any():
        raise ValueError(f"{int(loss.isnan().sum())} losses are NaN: give them a value first, with fill_nan")
    ascending = loss.sort().values
    keep = loss <= ascending[_last_kept(torch.tensor(len(loss)), fraction)]
    _, group, size = torch.unique(label, return_inverse=True, return_counts=True)
    order = loss.argsort()
    by_group = loss[order[group[order].argsort(stable=True)]]  # ascending within each class, class after class
    threshold = by_group[size.cumsum(0) - size + _last_kept(size, class_fraction)]
    return keep | (loss <= threshold[group])


def fill_nan(loss: Tensor) -> Tensor:
    """(n,) losses with every NaN replaced by the mean of the rest (D112).

    Raises:
        ValueError: all are NaN.

    >>> fill_nan(torch.tensor([1.0, float("nan"), 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    missing = loss.isnan()
    if len(loss) and missing.all():
        raise ValueError("every loss is NaN: the learner has diverged, lower its learning rate")
    return torch.where(missing, loss.nanmean(), loss)


def _last_kept(size: Tensor, fraction: float) -> Tensor:
    """Position, in ascending order, of the largest value that is <= the interpolated quantile.

    That is the order statistic just below the quantile, so that nothing has to be interpolated, and neither
    `torch.quantile`'s limit of 16 million values nor its float32 positions matter. The small number makes
    0.29 * 100 = 28.999999999999996 the 29 that is meant. (On the CPU, because not every device has float64.)
    """
    last = (fraction * (size.cpu().double() - 1) + 1e-9).floor().long()
    return last.to(size.device)
