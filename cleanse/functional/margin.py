"""How much better another class fits than the given one: a score that orders all images, also the accepted ones."""

import torch
from torch import Tensor


def margin(scores: Tensor, label: Tensor) -> Tensor:
    """The best other class's score minus that of the given class: the higher, the more suspicious; above 0, rejected.

    Ours; it puts the votes and the energies of Wang et al. 2022 on one axis.

    Args:
        scores: (n, C) float, higher where a class fits better; -inf where it does not exist.
        label: (n,) int64, as given.

    Returns:
        (n,) float, finite: differences from -inf become the largest that occur.

    Raises:
        ValueError: fewer than two classes, or another number of labels.

    >>> margin(torch.tensor([[0.75, 0.25], [0.75, 0.25]]), torch.tensor([0, 1])).tolist()
    [-0.5, 0.5]
    """
    if scores.ndim != 2 or scores.shape[1] < 2 or label.shape != scores.shape[:1]:
        raise ValueError(
            f"scores are (n, C) with C > 1, label (n,), not {tuple(scores.shape)} and {tuple(label.shape)}"
        )
    own = scores.gather(1, label[:, None])[:, 0]
    difference = scores.scatter(1, label[:, None], -torch.inf).amax(1) - own
    finite = difference[difference.isfinite()]
    low, high = (finite.min().item(), finite.max().item()) if len(finite) else (0.0, 0.0)
    return difference.nan_to_num(0.0, max(high, 0.0), min(low, 0.0))
