"""Votes of an ensemble of weak learners on every training sample.

Jin, Sun, Rinard 2021 (arXiv 2105.03692), appendix B.1.
"""

import torch
from torch import Tensor


def modal_vote(votes: Tensor, generator: torch.Generator, counts: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The class that most voters name, ties broken at random.

    One number is drawn for each sample, tie or not, so that a sample's result does not depend on the others'.

    Args:
        votes: (voters, n) int64, the class that each voter predicts.
        generator: breaks ties.
        counts: (voters, n) bool, which votes count; None for all.

    Returns:
        label: (n,) int64, the modal class; any class where no vote counts.
        count: (n,) int64, how many voters name it.

    Raises:
        ValueError: no voter, a negative vote, or ``counts`` of another shape.

    >>> votes = torch.tensor([[0, 2], [1, 2], [1, 0]])
    >>> label, count = modal_vote(votes, torch.Generator().manual_seed(0))
    >>> label.tolist(), count.tolist()
    ([1, 2], [2, 2])
    """
    if votes.ndim != 2 or not len(votes):
        raise ValueError(f"votes is (voters, n) with at least one voter, not {tuple(votes.shape)}")
    if votes.numel() and votes.min() < 0:
        raise ValueError(f"a vote is a class, 0 or more, not {int(votes.min())}")
    if counts is not None and counts.shape != votes.shape:
        raise ValueError(f"counts has the shape of votes, {tuple(votes.shape)}, not {tuple(counts.shape)}")
    n = votes.shape[1]
    weight = torch.ones_like(votes) if counts is None else counts.to(votes)
    classes = int(votes.max()) + 1 if n else 1
    draw = torch.rand(n, generator=generator, device=generator.device).to(votes.device)
    label, count = torch.empty(n, dtype=torch.int64, device=votes.device), torch.empty_like(votes[0])
    step = max(1, 2**22 // classes)  # tallies of a chunk: 4 million numbers at most
    for start in range(0, n, step):
        rows = slice(start, start + step)
        chunk = votes[:, rows].T
        tally = torch.zeros(len(chunk), classes, dtype=torch.int64, device=votes.device)
        tally.scatter_add_(1, chunk, weight[:, rows].T)
        best = tally.max(1).values
        tied = tally == best[:, None]
        ties = tied.sum(1)
        chosen = (draw[rows] * ties).long().clamp(max=ties - 1)  # the how-manieth of the tied classes
        label[rows] = (tied & (tied.cumsum(1) == chosen[:, None] + 1)).int().argmax(1)
        count[rows] = best
    return label, count


def keep_by_vote(
    votes: Tensor, label: Tensor, generator: torch.Generator, minimum: int = 1, counts: Tensor | None = None
) -> Tensor:
    """The samples whose modal vote is their given label (D120).

    Args:
        votes: (voters, n) int64.
        label: (n,) int64, as given.
        generator: breaks ties.
        minimum: voters that the modal class needs; 1 in the paper, 2 in the released code (D121).
        counts: (voters, n) bool, which votes count; None for all (D130).

    Returns:
        (n,) bool.

    Raises:
        ValueError: no voter, a negative vote, or labels or ``counts`` of another shape.

    >>> votes = torch.tensor([[0, 2], [1, 2], [1, 0]])
    >>> keep_by_vote(votes, torch.tensor([1, 0]), torch.Generator().manual_seed(0)).tolist()
    [True, False]
    """
    _check_labels(votes, label)
    modal, count = modal_vote(votes, generator, counts)
    return (modal == label) & (count >= minimum)


def vote_disagreement(votes: Tensor, label: Tensor) -> Tensor:
    """The share of voters that do not name the given label: 0 when all do, 1 when none does; a suspicion score.

    Args:
        votes: (voters, n) int64.
        label: (n,) int64, as given; a withheld one (-1) scores 1.

    Returns:
        (n,) float32.

    Raises:
        ValueError: another number of labels than of votes.

    >>> vote_disagreement(torch.tensor([[0, 2], [1, 2], [1, 2], [1, 0]]), torch.tensor([1, 0])).tolist()
    [0.25, 0.75]
    """
    _check_labels(votes, label)
    return (votes != label).float().mean(0)


def _check_labels(votes: Tensor, label: Tensor) -> None:
    if votes.ndim != 2 or votes.shape[1:] != label.shape:
        raise ValueError(f"votes is (voters, n) and label (n,), not {tuple(votes.shape)} and {tuple(label.shape)}")
