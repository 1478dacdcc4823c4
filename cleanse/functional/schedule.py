"""How large a component is, how many iterations find it, and how far each one trims (inverse self-paced learning).

Jin, Sun, Rinard 2021 (arXiv 2105.03692), appendix B.1. Version 1 of the paper and the code that the authors released in
2023 differ; a `Profile` names which one is meant.
"""

import math
from typing import Literal

Profile = Literal["v1", "iclr23"]


def component_fraction(index: int, active: int, total: int, rounds: int = 8, profile: Profile = "v1") -> float:
    """p: the share of the remaining samples that round ``index`` takes away.

    ``v1``: 1 / (rounds - index + 1), so that the last round takes all that is left. ``iclr23``:
    min(1, 0.96 / rounds * total / active), 12 % of the whole set in each of 8 rounds, so that some is left (D126).

    Args:
        index: of the round, counted from 1.
        active: samples that are left.
        total: samples in the whole set.
        rounds: components in one pass.
        profile: the paper's rule or the code's.

    Raises:
        ValueError: a round beyond the last one, or more samples left than there were.

    >>> component_fraction(6, active=18_750, total=50_000)
    0.3333333333333333
    >>> component_fraction(2, active=44_000, total=50_000, profile="iclr23")
    0.13636363636363635
    """
    if not 1 <= index <= rounds:
        raise ValueError(f"index counts the rounds from 1 to {rounds}, it cannot be {index}")
    if not 0 < active <= total:
        raise ValueError(f"active is between 1 and total = {total}, not {active}")
    return 1 / (rounds - index + 1) if profile == "v1" else min(1.0, 0.96 / rounds * total / active)


def num_iterations(fraction: float) -> int:
    """N: training iterations of a round, 2 + min(3, floor(1 / p)); the floor is ours (D115).

    The code's max(1, ...) around it changes nothing for p <= 1, so that both profiles agree.

    Args:
        fraction: p, in (0, 1].

    Raises:
        ValueError: p out of range.

    >>> [num_iterations(1 / k) for k in (8, 3, 2, 1)]
    [5, 5, 4, 3]
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is in (0, 1], not {fraction}")
    return 2 + min(3, math.floor(1 / fraction + 1e-9))


def beta_multiplier(iteration: int, iterations: int, profile: Profile = "v1") -> int:
    """How many times p an iteration keeps, down to once in steps of one.

    ``v1``: max(1, 3 - t), the paper's 3 p that drop to p over the next 2 iterations. ``iclr23``: min(3, max(1, N - 2 -
    t)). They differ in rounds of fewer than five iterations, of which the paper has one, the seventh (D116).

    Args:
        iteration: t, counted from 0.
        iterations: N.
        profile: the paper's rule or the code's.

    Raises:
        ValueError: an iteration out of range.

    >>> [beta_multiplier(t, 5) for t in range(5)]
    [3, 2, 1, 1, 1]
    >>> [beta_multiplier(t, 4) for t in range(4)], [beta_multiplier(t, 4, profile="iclr23") for t in range(4)]
    ([3, 2, 1, 1], [2, 1, 1, 1])
    """
    if not 0 <= iteration < iterations:
        raise ValueError(f"iteration counts from 0 to {iterations - 1}, it cannot be {iteration}")
    return max(1, 3 - iteration) if profile == "v1" else min(3, max(1, iterations - 2 - iteration))


def trimmed_fraction(iteration: int, fraction: float, profile: Profile = "v1") -> float:
    """beta_t: the share of the active samples that stays after an iteration, min(1, p * multiplier).

    Args:
        iteration: t, counted from 0.
        fraction: p, in (0, 1].
        profile: the paper's rule or the code's.

    Raises:
        ValueError: an iteration beyond the last one, or p out of range.

    >>> [trimmed_fraction(t, 0.125) for t in range(5)]
    [0.375, 0.25, 0.125, 0.125, 0.125]
    """
    return min(1.0, fraction * beta_multiplier(iteration, num_iterations(fraction), profile))


def class_fraction(iteration: int, fraction: float, profile: Profile = "v1") -> float:
    """The share of every class that stays whatever its losses: p / 8 in the paper, beta_t / 8 in the code (D114).

    Args:
        iteration: t, counted from 0.
        fraction: p, in (0, 1].
        profile: the paper's rule or the code's.

    Raises:
        ValueError: an iteration beyond the last one, or p out of range.

    >>> class_fraction(0, 0.125), class_fraction(0, 0.125, profile="iclr23")
    (0.015625, 0.046875)
    """
    trimmed = trimmed_fraction(iteration, fraction, profile)
    return (fraction if profile == "v1" else trimmed) / 8
