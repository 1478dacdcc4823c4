"""Symmetric cross-entropy by its definition."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from cleanse.functional import symmetric_cross_entropy

LOGITS = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
LABEL = torch.arange(20) % 5


def test_it_is_a_weighted_sum_of_both_cross_entropies() -> None:
    prediction = LOGITS.softmax(1)
    target = torch.full((20, 5), 1e-4).scatter(1, LABEL[:, None], 1.0)
    reverse = -(prediction * target.log()).sum(1)
    expected = 0.3 * cross_entropy(LOGITS, LABEL, reduction="none") + 2.0 * reverse
    assert torch.allclose(symmetric_cross_entropy(LOGITS, LABEL, 0.3, 2.0), expected, rtol=1e-5)


def test_reverse_cross_entropy_alone_ranks_by_the_label_s_probability() -> None:
    of_label = LOGITS.softmax(1).gather(1, LABEL[:, None]).squeeze(1)
    assert torch.equal(symmetric_cross_entropy(LOGITS, LABEL, alpha=0.0).argsort(), (-of_label).argsort())


@pytest.mark.parametrize(("probability", "value"), [(0.3, 6.447), (1.0, 0.0), (0.0, 9.21)])
def test_reverse_cross_entropy_is_bounded(probability: float, value: float) -> None:
    logits = torch.tensor([[probability, 1 - probability]]).clamp_min(1e-30).log()
    assert symmetric_cross_entropy(logits, torch.tensor([0]), alpha=0.0).item() == pytest.approx(value, abs=1e-3)
