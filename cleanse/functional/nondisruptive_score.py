"""How well the density of each class explains images of all others: too well when its training images hold theirs."""

import torch
from torch import Tensor

from cleanse.functional._density import checked


def nondisruptive_score(log_density: Tensor, label: Tensor) -> Tensor:
    """S_ND of each class: the mean negative log-density of images of other classes (D92).

    Sabolic et al. 2024 (arXiv 2409.01185), Eq. 3.

    A trigger that leaves the image's own features in place (non-disruptive) puts images of all classes under the
    target's label; the target's density then covers them, and its score is low. The paper flags scores below
    beta_ND = 0.6, in nats per dimension on standardized features; a standard normal has 1.419.

    Args:
        log_density: (n, C) of each image under each class, nats per dimension; -inf for a density of 0.
        label: (n,) int64, as given: they say which classes are the others.

    Returns:
        (C,) float, nats per dimension; +inf for a class whose density is 0 at some image of another class.

    Raises:
        ValueError: NaN, labels that do not fit, or every image of the same class.

    >>> log_density = torch.tensor([[-1.0, -3.0], [-1.0, -5.0], [-0.5, -1.0]])
    >>> nondisruptive_score(log_density, torch.tensor([0, 0, 1])).tolist()
    [0.5, 4.0]
    """
    table = checked(log_density, label)
    own = label.to(table.device)[:, None] == torch.arange(table.shape[1], device=table.device)
    others = (~own).sum(0)
    if not others.all():
        raise ValueError(f"all {len(label)} images are of class {int(label[0])}: there is none of another class")
    return -table.masked_fill(own, 0).sum(0) / others
