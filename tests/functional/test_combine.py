"""Two methods together."""

import pytest
import torch
from scipy.stats import rankdata

from cleanse.functional import combine, mean_rank, relabel_confident

# (prediction, confidence) of one method for an image labeled 0, and what comes of it; T is .5
ACCEPT, RELABEL_1, RELABEL_2, DROP = (0, 0.5), (1, 0.9), (2, 0.9), (1, 0.1)


def judged(*cases):
    prediction, confidence = zip(*cases, strict=True)
    return relabel_confident(
        torch.zeros(len(cases), dtype=torch.long), torch.tensor(prediction), torch.tensor(confidence)
    )


@pytest.mark.parametrize("first", [ACCEPT, RELABEL_1, RELABEL_2, DROP])
@pytest.mark.parametrize("second", [ACCEPT, RELABEL_1, RELABEL_2, DROP])
def test_every_pair(first, second):
    """Both accept, both relabel to the same class, or drop. (One more image gives each method its T.)"""
    both = combine(judged(first, ACCEPT), judged(second, ACCEPT))
    expected = {(ACCEPT, ACCEPT): (True, False, 0), (RELABEL_1, RELABEL_1): (False, True, 1)}
    expected[RELABEL_2, RELABEL_2] = (False, True, 2)
    accepted, relabeled, label = expected.get((first, second), (False, False, -1))
    assert both.accepted.tolist() == [accepted, True]
    assert both.relabeled.tolist() == [relabeled, False]
    assert both.dropped.tolist() == [not (accepted or relabeled), False]
    assert both.label.tolist() == [label, 0]


def test_with_itself_and_either_way_round():
    cases = [ACCEPT, RELABEL_1, RELABEL_2, DROP]
    once, other = judged(*cases), judged(ACCEPT, RELABEL_1, RELABEL_1, ACCEPT)
    assert all(a.equal(b) for a, b in zip(combine(once, once)[:4], once[:4], strict=True))
    assert all(a.equal(b) for a, b in zip(combine(once, other)[:4], combine(other, once)[:4], strict=True))


def test_thresholds_of_both():
    """Each method keeps its own T."""
    first, second = judged((0, 0.5), RELABEL_1), judged((0, 0.8), RELABEL_1)
    assert combine(first, second).threshold.tolist() == pytest.approx([0.5, 0.8])


def test_refusals():
    with pytest.raises(ValueError, match="same images, not 2 and 1"):
        combine(judged(ACCEPT, DROP), judged(ACCEPT))
    other = relabel_confident(torch.tensor([1, 1]), torch.tensor([1, 1]), torch.tensor([0.5, 0.5]))
    with pytest.raises(ValueError, match="2 accepted ones differ"):
        combine(judged(ACCEPT, ACCEPT), other)


def test_certain_by_either_method_is_certain():
    """Confidence 1 is the largest there is (D77): at T = 1 a method relabels, and says that it did so at T."""
    at_t, above_t = judged((0, 1.0), (0, 1.0), (1, 1.0), (1, 0.4)), judged((0, 0.5), (0, 0.5), (1, 0.9), (1, 0.9))
    assert at_t.as_certain.tolist() == [False, False, True, False]
    assert not above_t.as_certain.any()
    assert combine(at_t, above_t).as_certain.tolist() == [False, False, True, False]
    assert combine(above_t, at_t).as_certain.tolist() == [False, False, True, False]
    assert not combine(above_t, above_t).as_certain.any()


def test_mean_rank_against_scipy():
    """Ranks from 0 to 1, equal scores in the middle of their places."""
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randn(50, generator=generator), torch.randint(4, (50,), generator=generator).float()]
    expected = sum((rankdata(score) - 1) / 49 for score in scores) / 2
    assert mean_rank(scores).tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert mean_rank([torch.tensor([0.0, 1.0])]).tolist() == [0, 1]
    assert mean_rank([torch.tensor([7.0])]).tolist() == [0]
