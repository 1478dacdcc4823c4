"""Loss momentum: rank samples by their loss over several iterations, not by the last one alone.

Jin, Sun, Rinard 2021 (arXiv 2105.03692), Algorithm 2.
"""

from torch import Tensor


def smooth(previous: Tensor, loss: Tensor, eta: float = 0.9) -> Tensor:
    """L = eta * L + (1 - eta) * l (Algorithm 2, line 6).

    L starts at zero in every round and is not corrected for that: only the ranks of the losses matter (D113).

    Args:
        previous: (n,) float, L so far.
        loss: (n,) float, l, the loss of every remaining sample (a vector, where line 6 has a scalar: D112).
        eta: in [0, 1); 0 forgets the past.

    Returns:
        (n,) float.

    Raises:
        ValueError: eta out of range.

    >>> import torch
    >>> smooth(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), eta=0.75).item()
    0.25
    """
    if not 0 <= eta < 1:
        raise ValueError(f"eta is in [0, 1), not {eta}: 1 would never look at a loss")
    return eta * previous + (1 - eta) * loss
