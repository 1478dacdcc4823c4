"""The learning rate of a training that is short: up in a straight line, and down to zero in another."""


def one_cycle_factor(step: int, steps: int, start: float = 0.2, peak: float = 0.23) -> float:
    """What the learning rate is multiplied by: ``start`` at first, 1 at ``peak`` of all steps, 0 at the end.

    The triangle of Jordan 2024 (arXiv 2404.00498); its source ends at 0.07, for an average of weights that we do not
    take (D221).

    Args:
        step: batches so far.
        steps: of the whole training.
        start: the first factor.
        peak: share of the steps after which the factor is 1, in (0, 1).

    Raises:
        ValueError: no steps, or a peak out of range.

    >>> [round(one_cycle_factor(s, 100), 2) for s in (0, 23, 61, 100)]
    [0.2, 1.0, 0.51, 0.0]
    """
    if steps < 1:
        raise ValueError(f"steps is a number of batches, at least 1, not {steps}")
    if not 0 < peak < 1:
        raise ValueError(f"peak is a share of the steps, between 0 and 1, not {peak}")
    done = min(1.0, step / steps)
    return start + (1 - start) * done / peak if done < peak else (1 - done) / (1 - peak)
