"""Trimming by interpolated quantile, with a floor for every class."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cleanse.functional import fill_nan, trim


def reference(loss, label, fraction, class_fraction):
    keep = loss <= np.quantile(loss, fraction)
    for c in np.unique(label):
        keep |= (label == c) & (loss <= np.quantile(loss[label == c], class_fraction))
    return keep


def distinct(n, seed=0):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize(("n", "kept"), [(50_000, 6000), (101, 13)])
def test_count(n, kept):
    """Distinct losses give floor(q (n - 1)) + 1 samples, the lowest ones."""
    loss = distinct(n)
    mask = trim(loss, torch.zeros(n, dtype=torch.long), 0.12, 0.0)
    assert int(mask.sum()) == kept
    assert loss[mask].max() < loss[~mask].min()


@pytest.mark.parametrize("fraction", [0.0, 0.07, 0.25, 0.29, 0.5, 1.0])
def test_count_at_round_positions(fraction):
    """0.29 * 100 is 29, whatever binary fractions make of it."""
    mask = trim(distinct(101), torch.zeros(101, dtype=torch.long), fraction, 0.0)
    assert int(mask.sum()) == round(fraction * 100, 6) // 1 + 1


def test_large():
    """The count is exact where float32 positions would be off by one."""
    n, fraction = 1_000_003, 0.7654321
    loss = torch.arange(n, dtype=torch.float64)
    assert int(trim(loss, torch.zeros(n, dtype=torch.int8), fraction, 0.0).sum()) == 765_433 + 1


def test_class_floor():
    """Ten balanced classes, one above all others: 6000 + floor(.015 * 4999) + 1 = 6075."""
    label = torch.arange(10).repeat_interleave(5000)
    loss = torch.rand(50_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 9 * (label == 3)
    mask = trim(loss, label, 0.12, 0.12 / 8)
    assert int(mask.sum()) == 6075
    assert int(mask[label == 3].sum()) == 75
    assert loss[label == 3][mask[label == 3]].max() < loss[label == 3][~mask[label == 3]].min()


def test_every_class_keeps_one():
    """Every class with an active sample keeps at least one, however small the class and its fraction."""
    generator = torch.Generator().manual_seed(2)
    label = torch.cat([torch.randint(0, 43, (2000,), generator=generator), torch.tensor([50])])
    loss = torch.rand(2001, generator=generator) + label
    mask = trim(loss, label, 0.01, 0.0)
    assert set(label[mask].tolist()) == set(label.tolist())


@pytest.mark.parametrize("seed", range(20))
def test_against_numpy(seed):
    """The same rows as numpy's quantiles, ties and infinities included."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 300))
    loss, label = rng.random(n), rng.integers(-1, 7, n)
    if seed % 2:
        loss = loss.round(1)
    fraction, class_fraction = rng.random(2)
    mask = trim(torch.from_numpy(loss), torch.from_numpy(label), fraction, class_fraction)
    assert mask.tolist() == reference(loss, label, fraction, class_fraction).tolist()


def test_ties_are_all_kept():
    """Ties at the threshold may add elements, but never choose among equals."""
    assert trim(torch.ones(10), torch.arange(10) % 2, 0.1, 0.0).all()
    loss = torch.tensor([0.0, torch.inf, torch.inf])
    assert trim(loss, torch.zeros(3, dtype=torch.long), 0.5, 0.0).all()


def test_order_of_samples_does_not_matter():
    generator = torch.Generator().manual_seed(3)
    loss, label = torch.rand(500, generator=generator), torch.randint(0, 5, (500,), generator=generator)
    order = torch.randperm(500, generator=generator)
    assert trim(loss, label, 0.2, 0.1)[order].equal(trim(loss[order], label[order], 0.2, 0.1))


def test_refusals():
    loss, label = torch.tensor([1.0, torch.nan]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="1 losses are NaN"):
        trim(loss, label, 0.5, 0.5)
    with pytest.raises(ValueError, match="class_fraction is between 0 and 1"):
        trim(loss.nan_to_num(), label, 0.5, 1.5)
    for wrong in (torch.ones(0), torch.ones(3), torch.ones(2, 1)):
        with pytest.raises(ValueError, match="loss and label"):
            trim(wrong, label, 0.5, 0.5)


def test_fill_nan():
    assert fill_nan(torch.tensor([torch.nan, 1.0, 2.0, torch.nan])).tolist() == [1.5, 1.0, 2.0, 1.5]
    assert fill_nan(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="diverged"):
        fill_nan(torch.full((3,), torch.nan))


@pytest.mark.parametrize("seed", range(5))
def test_trimmed_objective_never_rises(seed):
    """With eta = 0, alpha = 1 and an exact minimizer, the trimmed objective decreases (Jin et al. 2021, Prop. 5.1).

    The learner is the mean of each class on one-dimensional data under squared error. Class 1 holds two clusters, so
    that there is something to choose. The number kept never grows, which leaves F without its penalty term.
    """
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(400) % 2
    x = torch.randn(400, generator=generator, dtype=torch.float64) + 4 * label
    x[(label == 1) & (torch.rand(400, generator=generator) < 0.3)] += 6
    keep, fractions, values = torch.ones(400, dtype=torch.bool), [0.375, 0.25] + [0.125] * 20, []
    for fraction in fractions:
        mean = torch.stack([x[keep & (label == c)].mean() for c in (0, 1)])
        loss = (x - mean[label]) ** 2
        values.append(float(loss[keep].sum()))
        keep = trim(loss, label, fraction, 0.0)
        values.append(float(loss[keep].sum()))
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(values))
    assert values[-1] < values[0] / 10
    assert values[-1] == pytest.approx(values[-3], abs=1e-12)
