"""Do the images of a class that surely look foreign share something that what they look like does not explain?"""

import torch
from torch import Tensor

from cleanse.functional.foreign_cluster import foreign_cluster


def class_means(white: Tensor, label: Tensor, typical: Tensor, classes: int) -> Tensor:
    """(C, p) float, the mean of each class's typical images; 0 for a class without any.

    >>> class_means(torch.tensor([[1.0], [3.0], [9.0]]), torch.tensor([0, 0, 1]), torch.ones(3).bool(), 2).tolist()
    [[2.0], [9.0]]
    """
    sums = white.new_zeros(classes, white.shape[1])
    for rows in torch.split(typical.nonzero().flatten(), 4096):
        sums.index_add_(0, label[rows], white[rows])
    return sums / label[typical].bincount(minlength=classes).clamp(min=1)[:, None]


def shared_trait(
    inside: Tensor, margin: Tensor, score: Tensor, looks_like: Tensor, mean: Tensor, suspect: int, most: int = 32
) -> tuple[float, Tensor]:
    """Group one class by early features, from the images that surely look foreign; compare what the groups look like.

    The span of the means of the classes that images of the class look like is taken out first: wrong labels share the
    early features of their true class, and are explained by it. What is left knows nothing of the votes; so if the
    group that it finds still looks foreign, the same images are odd in two ways that have no reason to agree. Covers
    (the trigger under the right label, Qi et al. 2023) do not hide that.

    Args:
        inside: (n_c, p) float, one class's features, whitened within classes.
        margin: (n_c,) float, the best other class's share of the votes minus that of the given one.
        score: (n_c,) float, of the margins among those of the other classes, see `normal_scores`.
        looks_like: (n_c,) int64, the class with most votes.
        mean: (C, p) float, see `class_means`.
        suspect: the class that is looked at.
        most: classes whose means are taken out.

    Returns:
        gap: the difference of the two groups' mean normal scores of the margin; natural ones stay below 1.3.
        group: (n_c,) bool, the images of the class in the group; none where it cannot be formed.

    Raises:
        ValueError: as `foreign_cluster`.

    >>> generator = torch.Generator().manual_seed(0)
    >>> inside, margin = torch.randn(200, 20, generator=generator), -torch.rand(200, generator=generator)
    >>> inside[:40, 5] += 8
    >>> margin[:30] += 1.5
    >>> looks_like, mean = (margin > 0).long(), torch.eye(2, 20)
    >>> gap, group = shared_trait(inside, margin, 2 * margin + 1, looks_like, mean, 0)
    >>> gap > 1.4, 38 < int(group.sum()) < 43
    (True, True)
    """
    votes = looks_like[margin > 0].bincount(minlength=1)
    common = [c for c in votes.argsort(descending=True, stable=True)[:most].tolist() if votes[c]]
    means = mean[sorted({suspect, *common})]
    basis = torch.linalg.qr((means[1:] - means[0]).T).Q
    group = foreign_cluster(inside - (inside @ basis) @ basis.T, margin, score, with_margin=False) > 0.5
    if min(int(group.sum()), int((~group).sum())) < 3:
        return 0.0, torch.zeros_like(group)
    return float(score[group].mean() - score[~group].mean()), group
