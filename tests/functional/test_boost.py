"""Algorithm 1 on loss matrices."""

import pytest
import torch

from cleanse.functional import boost_components


def algorithm(loss, size):
    """The paper's loops, with line 11's sign corrected."""
    n = len(size)
    votes = [0] * n
    for i in range(n):
        for k in range(n):
            if loss[i][k] < size[k] / 2:
                votes[k] += size[i]
    return [v > sum(size) / 2 for v in votes]


def compatible(size, primary, generator):
    """Losses as Assumptions 4.2 and 4.3 have them: below one half within a kind, above between the two."""
    same = primary[:, None] == primary
    rate = torch.rand(len(size), len(size), generator=generator) * 0.49 + torch.where(same, 0.0, 0.505)
    return rate * size


@pytest.mark.parametrize("seed", range(10))
def test_theorem(seed):
    """With more than half of the samples primary, exactly the primary components are found (Thm. 4.1)."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.randint(10, 100, (8,), generator=generator)
    primary = torch.rand(8, generator=generator) < 0.7
    loss = compatible(size, primary, generator)
    majority = int(size[primary].sum()) * 2 > int(size.sum())
    tie = int(size[primary].sum()) * 2 == int(size.sum())
    assert tie or boost_components(loss, size).equal(primary if majority else ~primary)


@pytest.mark.parametrize("seed", range(10))
def test_against_the_loops(seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.randint(1, 20, (6,), generator=generator)
    loss = (torch.rand(6, 6, generator=generator) * size).round()
    assert boost_components(loss, size).tolist() == algorithm(loss.tolist(), size.tolist())


def test_printed_sign_is_wrong():
    """D120: line 11 as printed would call the noise primary."""
    size, primary = torch.tensor([40, 40, 20]), torch.tensor([True, True, False])
    loss = compatible(size, primary, torch.Generator().manual_seed(0))
    assert boost_components(loss, size).equal(primary)
    assert not boost_components(size - loss, size).equal(primary)


def test_half_of_all_samples_in_favor_are_not_enough():
    loss = torch.tensor([[0, 9], [9, 0]])
    assert boost_components(loss, torch.tensor([10, 10])).tolist() == [False, False]


def test_refusal():
    with pytest.raises(ValueError, match="loss is"):
        boost_components(torch.zeros(2, 3), torch.ones(3))
