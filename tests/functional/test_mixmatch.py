"""The steps of MixMatch."""

import pytest
import torch
from torch.nn.functional import cross_entropy, one_hot

from cleanse.functional import lowest, mix, mixmatch_loss, pool_batches, sharpen

LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("temperature", [0.25, 0.5, 1.0, 2.0])
def test_sharpened_rows_are_distributions_in_the_same_order(temperature: float) -> None:
    before = LOGITS.softmax(1)
    after = sharpen(before, temperature)
    assert torch.allclose(after.sum(1), torch.ones(6))
    assert torch.equal(after.argsort(1), before.argsort(1))
    assert bool((after.amax(1) > before.amax(1)).all()) is (temperature < 1)


def test_labeled_rows_alone_give_cross_entropy() -> None:
    loss = mixmatch_loss(LOGITS, one_hot(LABEL, 3).float(), 6, 15.0)
    assert loss.item() == pytest.approx(cross_entropy(LOGITS, LABEL).item())


def test_the_error_of_the_guesses_is_the_mean_over_rows_and_classes() -> None:
    target = one_hot(LABEL, 3).float()
    squared = (LOGITS[2:].softmax(1) - target[2:]).square().sum() / (4 * 3)
    expected = cross_entropy(LOGITS[:2], LABEL[:2]) + 15.0 * squared
    assert mixmatch_loss(LOGITS, target, 2, 15.0).item() == pytest.approx(expected.item())


def test_a_share_of_one_leaves_rows_as_they_are() -> None:
    assert torch.equal(mix(LOGITS, torch.arange(6).flip(0), 1.0), LOGITS)
    assert torch.equal(mix(LOGITS, torch.arange(6).flip(0), 0.0), LOGITS.flip(0))


def test_a_pool_is_gone_through_again_and_again() -> None:
    rows = torch.arange(100, 110)
    batches = pool_batches(rows, 3, 7, torch.Generator().manual_seed(0))
    assert batches.shape == (7, 3)
    for first in (0, 3):  # a pass has three batches, and one row fills none
        assert len(set(batches[first : first + 3].flatten().tolist())) == 9
    assert set(batches.flatten().tolist()) == set(rows.tolist())
    assert not torch.equal(batches[:3], batches[3:6])


def test_a_pool_smaller_than_a_batch_is_repeated() -> None:
    batches = pool_batches(torch.tensor([4, 7]), 5, 2, torch.Generator().manual_seed(0))
    for batch in batches:
        assert sorted(batch.bincount(minlength=8)[[4, 7]].tolist()) == [2, 3]


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(ValueError, match="no row to make batches of"):
        pool_batches(torch.empty(0, dtype=torch.int64), 5, 2, torch.Generator())


def test_the_lowest_rows_are_exactly_as_many_and_the_first_of_equal_ones() -> None:
    loss = torch.tensor([2.0, 1.0, 2.0, 2.0, 0.5])
    assert lowest(loss, 3).tolist() == [True, True, False, False, True]
    assert not lowest(loss, 0).any()


@pytest.mark.parametrize(
    ("loss", "count", "message"),
    [
        (torch.tensor([1.0, torch.nan]), 1, "1 losses are NaN.*lower its learning rate"),
        (torch.ones(2), 3, "0 to 2, not 3"),
    ],
    ids=["NaN", "too many"],
)
def test_what_has_no_lowest_rows_is_refused(loss: torch.Tensor, count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lowest(loss, count)
