"""Votes of weak learners."""

from collections import Counter

import pytest
import torch

from cleanse.functional import keep_by_vote, modal_vote, vote_disagreement


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_hand_matrix():
    """Clear majorities need no chance."""
    votes = torch.tensor([[0, 5, 2], [0, 5, 1], [3, 1, 1]])
    for seed in range(5):
        label, count = modal_vote(votes, seeded(seed))
        assert label.tolist() == [0, 5, 1]
        assert count.tolist() == [2, 2, 2]


def test_ties_are_broken_evenly():
    """Both outcomes of a tie appear, each about half the time, and nothing else does."""
    votes = torch.tensor([[4], [1], [4], [1], [2]]).expand(5, 4000)
    label, count = modal_vote(votes, seeded())
    assert set(label.tolist()) == {1, 4}
    assert count.eq(2).all()
    assert int((label == 1).sum()) == pytest.approx(2000, abs=150)
    outcomes = {int(modal_vote(votes[:, :1], seeded(seed))[0]) for seed in range(20)}
    assert outcomes == {1, 4}


def test_all_voters_differ():
    """The code's profile drops such a sample, the paper's keeps it one time in 24."""
    votes, label = torch.arange(24)[:, None].expand(24, 24_000), torch.full((24_000,), 7)
    assert not keep_by_vote(votes, label, seeded(), minimum=2).any()
    assert int(keep_by_vote(votes, label, seeded()).sum()) == pytest.approx(1000, abs=130)


def test_against_double_loop():
    """The modal class and its count, for every sample."""
    votes = torch.randint(0, 6, (9, 300), generator=seeded(1))
    label, count = modal_vote(votes, seeded(2))
    for i in range(300):
        tally = Counter(votes[:, i].tolist())
        assert count[i] == max(tally.values()) == tally[int(label[i])]


def test_large_and_chunked():
    """24 x 50000 votes on 43 classes; chunks make no difference to a sample."""
    votes = torch.randint(0, 43, (24, 50_000), generator=seeded(3))
    label, count = modal_vote(votes, seeded(4))
    assert (votes == label).sum(0).equal(count)
    far = votes[:, :300].clone()
    far[0, 0] = 100_000  # so many classes that a chunk is 41 samples
    again, _ = modal_vote(far, seeded(4))
    small, _ = modal_vote(votes[:, :300], seeded(4))
    assert again[1:].equal(small[1:])


def test_seed_decides():
    votes = torch.randint(0, 10, (4, 1000), generator=seeded(5))
    assert modal_vote(votes, seeded(6))[0].equal(modal_vote(votes, seeded(6))[0])
    assert not modal_vote(votes, seeded(6))[0].equal(modal_vote(votes, seeded(7))[0])


def test_keep_needs_the_given_label():
    votes = torch.tensor([[1, 1, 0], [1, 1, 0]])
    assert keep_by_vote(votes, torch.tensor([1, 0, -1]), seeded()).tolist() == [True, False, False]


def test_only_votes_that_count_are_counted():
    """D130: of five votes on each image the first, the last two, or none count."""
    votes = torch.tensor([[2, 0, 1], [0, 0, 1], [0, 0, 1], [0, 1, 1], [0, 1, 1]])
    counts = torch.tensor([[True, False, False]] + [[False] * 3] * 2 + [[False, True, False]] * 2)
    label, count = modal_vote(votes, seeded(), counts)
    assert label[:2].tolist() == [2, 1]
    assert count.tolist() == [1, 2, 0]
    assert keep_by_vote(votes, torch.tensor([2, 1, 1]), seeded(), counts=counts).tolist() == [True, True, False]
    assert keep_by_vote(votes, torch.tensor([2, 1, 1]), seeded(), 2, counts).tolist() == [False, True, False]
    assert keep_by_vote(votes, torch.tensor([0, 0, 1]), seeded(), 2).tolist() == [True, True, True]
    with pytest.raises(ValueError, match=r"counts has the shape of votes, \(5, 3\), not \(4, 3\)"):
        modal_vote(votes, seeded(), counts[:4])


def test_disagreement():
    votes = torch.randint(0, 5, (24, 200), generator=seeded(8))
    label = torch.randint(-1, 5, (200,), generator=seeded(9))
    expected = [sum(int(v) != int(label[i]) for v in votes[:, i]) / 24 for i in range(200)]
    assert vote_disagreement(votes, label).tolist() == pytest.approx(expected)
    assert vote_disagreement(votes, label)[label == -1].eq(1).all()


def test_no_samples():
    label, count = modal_vote(torch.zeros(3, 0, dtype=torch.long), seeded())
    assert len(label) == len(count) == 0


def test_refusals():
    with pytest.raises(ValueError, match="at least one voter"):
        modal_vote(torch.zeros(0, 3, dtype=torch.long), seeded())
    with pytest.raises(ValueError, match="0 or more, not -1"):
        modal_vote(torch.tensor([[0, -1]]), seeded())
    with pytest.raises(ValueError, match=r"label \(n,\)"):
        vote_disagreement(torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, dtype=torch.long))
