"""Whether a class holds a second kind of image, one that no other class has anything of."""

from typing import NamedTuple

import torch
from torch import Tensor

from cleanse.functional._density import best_other, checked


class Disruption(NamedTuple):
    """What the histogram rule finds in each class."""

    flagged: Tensor
    """(C,) bool: the class holds disruptive poison."""

    score: Tensor
    """(C,) float: S_D, the share of the class's images below the split; 0 where there is no split."""

    split: Tensor
    """(C,) float: mu_y, the density at which the class falls into two; NaN where there is no split."""


def disruptive_score(
    log_density: Tensor,
    label: Tensor,
    limit: float = 0.75,
    threshold: float = 0.05,
    bins: int = 30,
    valley: bool = True,
    relative: bool = False,
) -> Disruption:
    """Split a class's images by the density that other classes give them, and flag a large far group.

    Sabolic et al. 2024 (arXiv 2409.01185), Eq. 4 and 5.

    v = exp(max over other classes of log-density) of every image of a class. Clean images look a little like some other
    class; images that a trigger made unlike anything (disruptive) have a small v. Of a histogram of v between its
    minimum and maximum, the first of the lowest bins among those wholly below ``limit`` is the split m; S_D is the
    share of images in the bins before it (D94). No split, and no flag: fewer than two edges below ``limit``,
    all v equal, or a range of v that is not finite.

    Departures:
        * Eq. 5 says "S_D less than beta_D"; greater is meant, and is what the published code does (D94).
        * ``valley`` is a condition of the code that the paper does not have: the images before the split are at least
          twice those in the split's own bin.

    Where the whole range of v lies below ``limit``, the search runs over all bins and often ends in the right tail: a
    clean class is flagged with S_D near 1 (D95). Whether that happens is up to the embedding, ``limit`` being a
    density. ``relative`` is the way out (ours): ``limit`` is then a share of the median v of the class itself.

    Args:
        log_density: (n, C) of each image under each class, nats per dimension.
        label: (n,) int64, as given.
        limit: lambda, a density per dimension; with ``relative``, a share of the class's median v.
        threshold: beta_D, a share of the class, to be exceeded.
        bins: of the histogram, 2 or more.
        valley: demand a real valley.
        relative: what ``limit`` is measured in.

    Returns:
        The flags, the scores and the splits; a class without images is not flagged.

    Raises:
        ValueError: NaN, labels that do not fit, or an argument out of range.

    >>> v = torch.tensor([0.15, 0.95]).repeat_interleave(torch.tensor([25, 75])) + torch.linspace(-0.05, 0.05, 100)
    >>> log_density = torch.stack([torch.zeros(100), v.log()], 1)
    >>> disruptive_score(log_density, torch.zeros(100, dtype=torch.int64)).score.tolist()
    [0.25, 0.0]
    """
    table = checked(log_density, label)
    if not limit > 0 or not 0 <= threshold < 1:
        raise ValueError(f"limit is above 0 and threshold in [0, 1), not {limit} and {threshold}")
    if relative and not limit < 1:
        raise ValueError(f"limit is a share of the class's median, below 1, not {limit}")
    if bins < 2:
        raise ValueError(f"bins is 2 or more, so that there is one before a split, not {bins}")
    label = label.to(table.device)
    density = best_other(table, label)[0].exp()
    classes = table.shape[1]
    flagged = torch.zeros(classes, dtype=torch.bool, device=table.device)
    score, split = table.new_zeros(classes), table.new_full((classes,), torch.nan)
    for c in torch.unique(label).tolist():
        v = density[label == c]
        low, high = v.aminmax()
        if not low < high < torch.inf:
            continue
        edges = torch.linspace(low.item(), high.item(), bins + 1, dtype=v.dtype, device=v.device)
        below = int((edges < (limit * v.median() if relative else limit)).sum()) - 1
        if below < 1:
            continue
        count = torch.bucketize(v, edges[1:-1], right=True).bincount(minlength=bins)
        m = int(count[:below].argmin())  # the first of equals
        before = int(count[:m].sum())
        score[c], split[c] = before / len(v), edges[m]
        enough = before > threshold * len(v)
        flagged[c] = enough and (not valley or before >= 2 * int(count[m]))
    return Disruption(flagged, score, split)
