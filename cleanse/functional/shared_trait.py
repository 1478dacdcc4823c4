"""Do the images of a class that surely look foreign share something that what they look like does not explain?"""

import torch
from torch import Tensor

from cleanse.functional.foreign_cluster import foreign_cluster


def shared_trait(
    white: Tensor, label: Tensor, suspect: int, margin: Tensor, looks_like: Tensor, most: int = 32
) -> tuple[float, Tensor]:
    """Group one class by early features, from the images that surely look foreign; compare what the groups look like.

    The span of the means of the classes that they look like is taken out first: wrong labels share the early features
    of their true class, and are explained by it. What is left knows nothing of the votes; so if the group that it
    finds still looks foreign, the same images are odd in two ways that have no reason to agree. Covers (the trigger
    under the right label, Qi et al. 2023) do not hide that.

    Args:
        white: (n, p) float, whitened within classes.
        label: (n,) int64.
        suspect: the class that is looked at.
        margin: (n,) float, the best other class's share of the votes minus that of the given one.
        looks_like: (n,) int64, the class with most votes.
        most: classes whose means are taken out.

    Returns:
        gap: the difference of the two groups' mean normal scores of the margin; natural ones stay below 1.3.
        group: (n_c,) bool, the images of the class in the group; none where it cannot be formed.

    Raises:
        ValueError: as `foreign_cluster`.

    >>> generator = torch.Generator().manual_seed(0)
    >>> white, margin = torch.randn(400, 20, generator=generator), -torch.rand(400, generator=generator)
    >>> white[:40, 0] += 8
    >>> margin[:30] += 1.5
    >>> label = (torch.arange(400) >= 200).long()
    >>> gap, group = shared_trait(white, label, 0, margin, 1 - label)
    >>> gap > 1.4, 38 < int(group.sum()) < 43
    (True, True)
    """
    rows = label == suspect
    seen = looks_like[rows & (margin > 0.5)]
    common = seen.bincount().argsort(descending=True)[:most] if len(seen) else seen
    centers = [white[(label == c) & (margin < 0)] for c in {suspect, *common.tolist()}]
    means = torch.stack([center.mean(0) for center in centers if len(center)] or [white.mean(0)])
    basis = torch.linalg.qr((means - means.mean(0)).T).Q
    weight, score = foreign_cluster(white - (white @ basis) @ basis.T, label, suspect, margin, with_margin=False)
    group = weight > 0.5
    if min(int(group.sum()), int((~group).sum())) < 3:
        return 0.0, torch.zeros_like(group)
    return float(score[group].mean() - score[~group].mean()), group
