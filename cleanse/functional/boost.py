"""Boosting homogeneous sets: find the clean components by letting each one's learner vote on all the others.

Jin, Sun, Rinard 2021 (arXiv 2105.03692), Algorithm 1.
"""

from torch import Tensor


def boost_components(loss: Tensor, size: Tensor) -> Tensor:
    """Which components belong to the primary (clean) distribution (Algorithm 1).

    A component votes for another when the learner fitted to it errs on less than half of that one's samples; votes
    are weighted by size, and more than half of all samples must be in favor.

    Departures from the paper:

    * Line 11 asks for a loss *above* one half, which contradicts the proof of Theorem 4.1; here it is below (D120).
    * The paper's experiments, and `ISPL`, vote by sample instead: see `keep_by_vote` (D120).

    Args:
        loss: (N, N) float, the errors of learner i on component k, a count averaged over the learners of i.
        size: (N,) int64, samples of each component.

    Returns:
        (N,) bool, true for the primary components.

    Raises:
        ValueError: a loss matrix that does not fit the sizes.

    >>> import torch
    >>> boost_components(torch.tensor([[0, 1, 9], [2, 0, 8], [30, 19, 0]]), torch.tensor([30, 20, 10])).tolist()
    [True, True, False]
    """
    if size.ndim != 1 or loss.shape != (len(size), len(size)):
        raise ValueError(f"loss is (N, N) for N sizes, not {tuple(loss.shape)} for {tuple(size.shape)}")
    in_favor = (loss < size / 2).to(size)  # row i: the components that i votes for
    return (in_favor * size[:, None]).sum(0) > size.sum() / 2
