"""How much more an image is of the class that it is labeled with than of any other."""

import torch
from torch import Tensor

from cleanse.functional._density import best_other, checked


def poisoning_score(log_density: Tensor, label: Tensor) -> Tensor:
    """The log of Eq. 6's ratio: log-density under the given label less the best of the others (D98).

    Sabolic et al. 2024 (arXiv 2409.01185), section 4.5.

    Its direction depends on the kind of poison. Non-disruptive poison looks like its true class: **low** is suspicious.
    Disruptive poison looks like nothing but itself: **high** is. Differences of logarithms do not underflow; a division
    by the dimension leaves the order alone.

    Args:
        log_density: (n, C) of each image under each class, nats per dimension; -inf for a density of 0.
        label: (n,) int64, as given.

    Returns:
        (n,) float; 0 where all densities are 0, +inf or -inf where one side is.

    Raises:
        ValueError: NaN, or labels that do not fit.

    >>> poisoning_score(torch.tensor([[-1.0, -2.5], [-1e4, -10001.0]]), torch.tensor([0, 1])).tolist()
    [1.5, -1.0]
    """
    table = checked(log_density, label)
    own = table.gather(1, label[:, None].to(table.device))[:, 0]
    score = own - best_other(table, label)[0]
    return torch.where(score.isnan(), 0, score)  # 0 of 0
