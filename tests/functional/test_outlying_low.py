"""One score far below the others, whatever the unit."""

import pytest
import torch

from cleanse.functional import outlying_low

REST = [3.4, 3.7, 3.9, 4.3, 3.6, 4.1, 3.8, 3.5, 4.0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("classes", [2, 3, 10, 43])
def test_against_a_loop(seed, classes):
    score = torch.randn(classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).exp()
    flagged, apart = outlying_low(score, ratio=1.3)
    for c, own in enumerate(score.tolist()):
        others = min(s for i, s in enumerate(score.tolist()) if i != c)
        assert apart[c].item() == pytest.approx(max(others, 0.01) / max(own, 0.01))
        assert bool(flagged[c]) == (classes > 2 and max(others, 0.01) > 1.3 * max(own, 0.01))


def test_one_low_class():
    """1.57 among 3.4 to 4.3; the unit does not matter, the rest is not flagged, nor a high one."""
    for scale in (1.0, 0.2, 30.0):
        flagged, apart = outlying_low(scale * torch.tensor([1.57, *REST]), ratio=2.1)
        assert flagged.tolist() == [True] + [False] * 9
        assert apart.argmax() == 0
        assert apart[0].item() == pytest.approx(3.4 / 1.57)
    assert not outlying_low(torch.tensor([50.0, *REST]))[0].any()
    assert not outlying_low(torch.tensor(REST))[0].any()
    assert not outlying_low(torch.tensor([1.57, *REST]), ratio=2.2)[0].any()
    assert outlying_low(torch.tensor([1.3, *REST]))[0].any()


def test_several_low_classes_are_not_told_apart():
    """The documented limit: of two targets with the same score neither is flagged."""
    assert not outlying_low(torch.tensor([1.0, 1.0, *REST]))[0].any()


def test_negative_scores_and_equal_ones():
    assert outlying_low(torch.tensor([-0.4, *REST]))[0].tolist() == [True] + [False] * 9
    flagged, apart = outlying_low(torch.full((10,), -1.0))
    assert not flagged.any()
    assert apart.eq(1).all()


def test_classes_without_images_and_too_few():
    """They count for nothing; two classes are too few to say which is odd."""
    score = torch.tensor([1.3, torch.inf, *REST, torch.inf])
    flagged, apart = outlying_low(score)
    assert flagged.nonzero().tolist() == [[0]]
    assert apart[[1, -1]].eq(0).all()
    assert torch.equal(apart[score.isfinite()], outlying_low(torch.tensor([1.3, *REST]))[1])
    assert not outlying_low(torch.tensor([0.1, 5.0]))[0].any()
    assert not outlying_low(torch.tensor([0.1, 5.0, torch.inf]))[0].any()
    assert not outlying_low(torch.tensor([0.1, torch.inf]))[0].any()


def test_refusals():
    with pytest.raises(ValueError, match="none of the 2 scores is finite"):
        outlying_low(torch.full((2,), torch.inf))
    with pytest.raises(ValueError, match="1 NaN"):
        outlying_low(torch.tensor([1.0, 2.0, 3.0, torch.nan]))
    with pytest.raises(ValueError, match=r"\(2, 2\)"):
        outlying_low(torch.ones(2, 2))
    for arguments in ({"ratio": 1.0}, {"floor": 0.0}, {"ratio": float("nan")}):
        with pytest.raises(ValueError, match="ratio is above 1"):
            outlying_low(torch.ones(5), **arguments)


def test_exactly_the_ratio_is_not_above_it():
    assert not outlying_low(torch.tensor([1.0, 2.0, 8.0]), ratio=2.0)[0].any()
    assert outlying_low(torch.tensor([1.0, 2.001, 8.0]), ratio=2.0)[0].tolist() == [True, False, False]
