"""A score far below the others, whatever the unit."""

import math
from statistics import median

import pytest
import torch

from cleanse.functional import outlying_low

SPREAD = [3.4, 3.7, 3.9, 4.3, 3.6, 4.1, 3.8, 3.5, 4.0]


def by_hand(score, floor=0.01):
    log = [math.log(max(s, floor)) for s in score]
    deviation = 1.4826 * median(abs(s - median(log)) for s in log)
    return [(median(log) - s) / max(deviation, floor) for s in log]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 43])
def test_against_the_formula(seed, classes):
    score = torch.randn(classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()
    assert outlying_low(score)[1].tolist() == pytest.approx(by_hand(score.tolist()))


def test_one_low_class():
    """D-T5's figures: 1.57 among 3.4 to 4.3; the unit does not matter, the rest is not flagged, nor a high one."""
    score = torch.tensor([1.57, *SPREAD])
    for scale in (1.0, 0.2, 30.0):
        flagged, z = outlying_low(scale * score)
        assert flagged.tolist() == [True] + [False] * 9
        assert z.argmax() == 0
    flagged, z = outlying_low(torch.tensor([50.0, *SPREAD]))
    assert not flagged.any() and z[0] < 0
    assert not outlying_low(torch.tensor(SPREAD))[0].any()


def test_two_low_classes_and_the_threshold():
    score = torch.tensor([1.57, 1.2, *SPREAD])
    flagged, z = outlying_low(score)
    assert flagged[:2].all() and not flagged[2:].any()
    assert not outlying_low(score, threshold=z.max().item() + 0.1)[0].any()
    assert outlying_low(score, threshold=1e-9)[0].sum() == len(score) // 2


def test_negative_scores_and_classes_that_are_alike():
    """Below the floor counts as the floor; equal scores are not told apart, nor by a thousandth; far ones are."""
    assert outlying_low(torch.tensor([-0.4, *SPREAD]))[0].tolist() == [True] + [False] * 9
    assert outlying_low(torch.full((10,), -1.0))[1].eq(0).all()
    alike = torch.full((10,), 3.0)
    assert outlying_low(alike)[1].eq(0).all()
    alike[4] = 2.99
    assert not outlying_low(alike)[0].any()
    alike[4] = 1.0
    assert outlying_low(alike)[0].nonzero().tolist() == [[4]]


def test_how_often_clean_classes_are_flagged():
    """D-T10, the figures of the docstring: ten classes, log-scores normal."""
    score = torch.randn(2000, 10, generator=torch.Generator().manual_seed(0)).exp()
    z = torch.stack([outlying_low(row)[1].max() for row in score])
    assert 0.05 < (z > 3.5).float().mean() < 0.09 and 0.01 < (z > 5).float().mean() < 0.03


def test_classes_without_images():
    """They count for nothing."""
    with_them, without = torch.tensor([1.57, torch.inf, *SPREAD, torch.inf]), torch.tensor([1.57, *SPREAD])
    flagged, z = outlying_low(with_them)
    assert z[[1, -1]].eq(-torch.inf).all() and not flagged[[1, -1]].any()
    assert torch.allclose(z[with_them.isfinite()], outlying_low(without)[1])


def test_refusals():
    with pytest.raises(ValueError, match="none of the 2 scores is finite"):
        outlying_low(torch.full((2,), torch.inf))
    with pytest.raises(ValueError, match="1 NaN"):
        outlying_low(torch.tensor([1.0, 2.0, 3.0, torch.nan]))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        outlying_low(torch.ones(2, 2))
    for arguments in ({"threshold": 0.0}, {"floor": 0.0}, {"threshold": float("nan")}):
        with pytest.raises(ValueError, match="above 0"):
            outlying_low(torch.ones(5), **arguments)
