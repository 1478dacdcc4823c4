"""Smoothed losses."""

import pytest
import torch

from cleanse.functional import smooth


def test_closed_form():
    """L_t = (1 - eta) sum_s eta^(t - s) l_s to 1e-12, from zero."""
    losses = torch.rand(7, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    smoothed = torch.zeros(30, dtype=torch.float64)
    for t, loss in enumerate(losses):
        smoothed = smooth(smoothed, loss)
        expected = 0.1 * sum(0.9 ** (t - s) * losses[s] for s in range(t + 1))
        assert (smoothed - expected).abs().max() < 1e-12


def test_constant_loss():
    """A constant loss of 1 gives 1 - .9^t, .40951 after five iterations."""
    smoothed = torch.zeros(1, dtype=torch.float64)
    for t in range(1, 6):
        smoothed = smooth(smoothed, torch.ones(1, dtype=torch.float64))
        assert smoothed.item() == pytest.approx(1 - 0.9**t, abs=1e-12)
    assert smoothed.item() == pytest.approx(0.40951, abs=1e-12)


def test_no_memory_of_its_own():
    """Starting again from zero is a reset, and the arguments stay as they are."""
    previous, loss = torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])
    first = smooth(previous, loss)
    assert smooth(previous, loss).equal(first)
    assert previous.eq(0).all()
    assert smooth(first, loss, eta=0.0).equal(loss)


def test_refusal():
    with pytest.raises(ValueError, match="eta is in"):
        smooth(torch.zeros(1), torch.ones(1), eta=1.0)
