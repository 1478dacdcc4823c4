"""The sizes of components and the annealing within a round."""

from math import floor

import pytest
import torch

from cleanse.functional import (
    beta_multiplier,
    class_fraction,
    component_fraction,
    num_iterations,
    trim,
    trimmed_fraction,
)


def test_code_profile():
    """N = 50000, p = .12 N / |A|, without class extras."""
    active, seen = 50_000, []
    for index in range(1, 9):
        p = component_fraction(index, active, 50_000, profile="iclr23")
        counts = [floor(trimmed_fraction(t, p, "iclr23") * (active - 1) + 1e-9) + 1 for t in range(num_iterations(p))]
        seen.append((active, counts))
        active -= counts[-1]
    assert [a for a, _ in seen] == [50_000, 44_000, 38_000, 32_000, 26_000, 20_000, 14_000, 8000]
    assert [c for _, c in seen] == [
        *[[18_000, 12_000, 6000, 6000, 6000]] * 6,
        [12_000, 6000, 6000, 6000],
        [6000, 6000, 6000],
    ]


def test_paper_profile():
    """P = 1/8, 1/7, ..., 1 and N_it = 5 six times, 4, 3."""
    p = [component_fraction(i, 100, 1000) for i in range(1, 9)]
    assert [round(x, 3) for x in p] == [0.125, 0.143, 0.167, 0.2, 0.25, 0.333, 0.5, 1.0]
    assert [num_iterations(x) for x in p] == [5, 5, 5, 5, 5, 5, 4, 3]


def test_one_image_that_is_left_is_taken_in_the_last_round():
    assert component_fraction(8, active=1, total=1000) == 1.0


def test_code_fraction_is_at_most_one():
    assert component_fraction(8, 100, 50_000, profile="iclr23") == 1.0
    assert component_fraction(1, 500, 500, rounds=4, profile="iclr23") == pytest.approx(0.24)


@pytest.mark.parametrize(
    ("profile", "iterations", "multipliers"),
    [
        ("v1", 5, [3, 2, 1, 1, 1]),
        ("v1", 4, [3, 2, 1, 1]),
        ("v1", 3, [3, 2, 1]),
        ("iclr23", 7, [3, 3, 3, 2, 1, 1, 1]),
        ("iclr23", 5, [3, 2, 1, 1, 1]),
        ("iclr23", 4, [2, 1, 1, 1]),
        ("iclr23", 3, [1, 1, 1]),
    ],
)
def test_multiplier(profile, iterations, multipliers):
    """The paper starts at 3p always, the code where there are iterations enough; both end at p."""
    assert [beta_multiplier(t, iterations, profile) for t in range(iterations)] == multipliers


def test_the_paper_s_profile_is_the_default():
    assert beta_multiplier(1, 4) == beta_multiplier(1, 4, "v1")
    assert trimmed_fraction(1, 0.5) == trimmed_fraction(1, 0.5, "v1")
    assert class_fraction(0, 0.5) == class_fraction(0, 0.5, "v1")
    assert component_fraction(2, 10, 100) == component_fraction(2, 10, 100, profile="v1")


@pytest.mark.parametrize(("profile", "betas"), [("v1", [1.0, 1.0, 0.5, 0.5]), ("iclr23", [1.0, 0.5, 0.5, 0.5])])
def test_beta_in_the_seventh_of_eight_rounds(profile, betas):
    """Appendix B.1: 3p that drops linearly to p over the next 2 iterations, p = 1/2, at most 1."""
    assert [trimmed_fraction(t, component_fraction(7, 250, 1000), profile) for t in range(4)] == betas


@pytest.mark.parametrize("profile", ["v1", "iclr23"])
@pytest.mark.parametrize("p", [0.01, 0.12, 1 / 3, 0.4, 0.5, 0.75, 1.0])
def test_annealing(p, profile):
    """Algorithm 2's schedule: 1 >= beta_0 >= ... >= beta_N = p."""
    q = [trimmed_fraction(t, p, profile) for t in range(num_iterations(p))]
    assert q == sorted(q, reverse=True)
    assert q[-1] == p
    assert q[0] <= 1


def test_class_fraction():
    """The paper's floor follows p, the code's the current threshold."""
    assert [class_fraction(t, 0.125) for t in range(5)] == [0.125 / 8] * 5
    assert [class_fraction(t, 0.125, "iclr23") for t in range(5)] == [x / 64 for x in (3, 2, 1, 1, 1)]
    assert class_fraction(0, 0.4, "iclr23") == trimmed_fraction(0, 0.4, "iclr23") / 8


@pytest.mark.parametrize("profile", ["v1", "iclr23"])
def test_components_partition(profile):
    """Components are disjoint, with the leftovers they make up the set, and v1 leaves nothing."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 10, (5000,), generator=generator)
    owner = torch.full((5000,), -1)
    for index in range(1, 9):
        rows = (owner == -1).nonzero().flatten()
        p = component_fraction(index, len(rows), 5000, profile=profile)
        t = num_iterations(p) - 1
        loss = torch.rand(len(rows), generator=generator)
        found = trim(loss, label[rows], trimmed_fraction(t, p, profile), class_fraction(t, p, profile))
        owner[rows[found]] = index
    assert owner.unique().tolist() == ([] if profile == "v1" else [-1]) + list(range(1, 9))
    assert int((owner == -1).sum()) <= 5000 * 0.04


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: component_fraction(0, 1, 1), "index counts the rounds from 1 to 8"),
        (lambda: component_fraction(9, 1, 1), "index counts the rounds from 1 to 8"),
        (lambda: component_fraction(1, 0, 5), "active is between 1 and total = 5"),
        (lambda: num_iterations(0.0), "fraction is in"),
        (lambda: num_iterations(1.1), "fraction is in"),
        (lambda: beta_multiplier(5, 5), "iteration counts from 0 to 4"),
        (lambda: trimmed_fraction(3, 1.0), "iteration counts from 0 to 2"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
