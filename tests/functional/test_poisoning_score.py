"""Eq. 6 in logarithms."""

import pytest
import torch

from cleanse.functional import poisoning_score


def densities(n=80, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (n,), generator=generator)
    return torch.randn(n, classes, generator=generator, dtype=torch.float64), label


def test_order_of_the_ratio():
    """The same order as Eq. 6's ratio of densities, and the same values."""
    log_density, label = densities()
    ratio = []
    for row, c in zip(log_density.exp().tolist(), label.tolist(), strict=True):
        ratio.append(row[c] / max(p for k, p in enumerate(row) if k != c))
    score = poisoning_score(log_density, label)
    assert score.argsort().equal(torch.tensor(ratio).argsort())
    assert score.exp().tolist() == pytest.approx(ratio)
    assert poisoning_score(log_density / 512, label).argsort().equal(score.argsort())


def test_no_underflow():
    """Log p = -1e4 is 0 as a density; the difference is still there."""
    log_density, label = densities()
    assert torch.allclose(poisoning_score(log_density - 1e4, label), poisoning_score(log_density, label))
    assert poisoning_score(log_density - 1e4, label).isfinite().all()


def test_densities_of_zero():
    log_density = torch.tensor([[-1.0, -torch.inf], [-torch.inf, -1.0], [-torch.inf, -torch.inf]])
    assert poisoning_score(log_density, torch.zeros(3).long()).tolist() == [torch.inf, -torch.inf, 0.0]


def test_refusals():
    log_density, label = densities()
    log_density[7, 0] = torch.nan
    with pytest.raises(ValueError, match="the first is row 7"):
        poisoning_score(log_density, label)
    with pytest.raises(ValueError, match=r"whole numbers in 0\.\.3"):
        poisoning_score(log_density.nan_to_num(), label + 4)
