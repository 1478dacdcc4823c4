"""Self-training: who comes back."""

import pytest
import torch

from cleanse.functional import add_back, keep_by_agreement, start_agreement, update_agreement


def test_paper_only_adds():
    """The paper's step never drops a sample, and adds exactly those that are agreed with."""
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(500, generator=generator) < 0.5
    prediction, label = torch.randint(0, 4, (2, 500), generator=generator)
    after = add_back(keep, prediction, label)
    assert after[keep].all()
    assert after[~keep].equal((prediction == label)[~keep])


@pytest.mark.parametrize(("last", "value", "kept"), [(4, 0.596, True), (3, 0.494, False)])
def test_moving_average(last, value, kept):
    """Agreed with in exactly the last 4 of 20 rounds: .596, kept; the last 3: .494, dropped."""
    agreement = start_agreement(1)
    for i in range(20):
        agreement = update_agreement(agreement, torch.tensor([int(i >= 20 - last)]), torch.tensor([1]))
    closed = 1 - 0.8**last + 0.8**last * 0.5 * 0.8 ** (20 - last)
    assert agreement.item() == pytest.approx(closed, abs=1e-6) == pytest.approx(value, abs=5e-4)
    assert keep_by_agreement(agreement).tolist() == [kept]


def test_code_can_drop():
    """Unlike the paper's, the code's step takes samples out again; one half is not enough."""
    assert keep_by_agreement(start_agreement(2)).tolist() == [False, False]
    up = update_agreement(start_agreement(1), torch.tensor([1]), torch.tensor([1]))
    down = update_agreement(up, torch.tensor([0]), torch.tensor([1]))
    assert keep_by_agreement(up).item()
    assert not keep_by_agreement(down).item()


@pytest.mark.parametrize(("decay", "value"), [(0, 1.0), (1, 0.5)])
def test_the_old_value_may_count_for_nothing_or_for_all(decay, value):
    assert update_agreement(start_agreement(1), torch.tensor([3]), torch.tensor([3]), decay=decay).item() == value


@pytest.mark.parametrize("decay", [2, -0.1])
def test_refusal(decay):
    with pytest.raises(ValueError, match="decay is between 0 and 1"):
        update_agreement(start_agreement(1), torch.tensor([0]), torch.tensor([0]), decay=decay)
