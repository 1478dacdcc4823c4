"""Of the flagged classes, what is surely clean, what is surely poisoned, and where the latter belongs."""

from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional._density import best_other, checked
from cleanse.functional.poisoning_score import poisoning_score


class Split(NamedTuple):
    """What becomes of every image; the masks are disjoint, and what is in neither is dropped, being uncertain."""

    clean: Tensor
    """(n,) bool: D_C, with the label as given; all images of classes that are not flagged are in it."""

    poisoned: Tensor
    """(n,) bool: D_P where relabeled; disruptive poison is dropped."""

    label: Tensor
    """(n,) int64: the given label where clean, the new one where relabeled, -1 where dropped."""


def split_and_relabel(
    log_density: Tensor,
    label: Tensor,
    nondisruptive: Tensor,
    disruptive: Tensor,
    alpha_clean: float = 0.15,
    alpha_poison: float = 0.15,
) -> Split:
    """Rank the images of each flagged class by Eq. 6, take both ends, relabel non-disruptive poison.

    Sabolic et al. 2024 (arXiv 2409.01185), section 4.6. In ascending order of `poisoning_score`, n images of a class,
    counts as in the published code (D99):
    non-disruptive, the first int(alpha_poison n) are poisoned and the last n - int((1 - alpha_clean) n) are clean;
    disruptive, the first int(alpha_clean n) are clean and the last n - int((1 - alpha_poison) n) poisoned. Section 4.6
    has only the latter direction (D98). Non-disruptive poison gets the class of highest density among the others
    (Eq. 7, with y' for y; D100); disruptive poison and the middle are dropped (D99).

    A class flagged as both is disruptive (D93). Nothing flagged: everything is clean (D101). Of equal
    scores, the earlier image comes first. Poison with density 0 under every other class is dropped.

    Args:
        log_density: (n, C) of each image under each class, nats per dimension.
        label: (n,) int64, as given.
        nondisruptive, disruptive: (C,) bool, the flagged classes.
        alpha_clean: share of a flagged class that is kept as clean, at most half.
        alpha_poison: share of a flagged class that is taken for poison, at most half.

    Returns:
        The masks and the labels.

    Raises:
        ValueError: an alpha out of range, NaN, labels or flags that do not fit.

    >>> log_density = torch.tensor([[-1.0, -2.0], [-3.0, -1.0], [-1.0, -3.0], [-5.0, -1.0]])
    >>> flags = torch.tensor([True, False]), torch.tensor([False, False])
    >>> split_and_relabel(log_density, torch.tensor([0, 0, 0, 1]), *flags, alpha_clean=1 / 3, alpha_poison=1 / 3).label
    tensor([-1,  1,  0,  1])
    """
    table = checked(log_density, label)
    for name, alpha in (("alpha_clean", alpha_clean), ("alpha_poison", alpha_poison)):
        if not 0 <= alpha <= 0.5:
            raise ValueError(f"{name} is between 0 and 0.5, so that no image is clean and poisoned, not {alpha}")
    for name, flag in (("nondisruptive", nondisruptive), ("disruptive", disruptive)):
        if flag.shape != table.shape[1:] or flag.dtype != torch.bool:
            raise ValueError(f"{name} is ({table.shape[1]},) bool, a flag for each class, not {tuple(flag.shape)}")
    label, disruptive = label.to(table.device), disruptive.to(table.device)
    flagged = nondisruptive.to(table.device) | disruptive
    score, (value, other) = poisoning_score(table, label), best_other(table, label)
    clean, poisoned = ~flagged[label], torch.zeros_like(label, dtype=torch.bool)
    for c in flagged.nonzero().flatten().tolist():
        rows = (label == c).nonzero().flatten()
        ascending = rows[score[rows].argsort(stable=True)]
        if disruptive[c]:
            clean[ascending[: int(alpha_clean * len(rows))]] = True
            poisoned[ascending[int((1 - alpha_poison) * len(rows)) :]] = True
        else:
            poisoned[ascending[: int(alpha_poison * len(rows))]] = True
            clean[ascending[int((1 - alpha_clean) * len(rows)) :]] = True
    relabeled = poisoned & ~disruptive[label] & (value > -torch.inf)
    return Split(clean, poisoned, torch.where(clean, label, torch.where(relabeled, other, -1)))
