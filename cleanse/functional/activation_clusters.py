"""Two clusters in the activations of a class, and whether the smaller one looks planted.

Chen et al. 2018, "Detecting Backdoor Attacks on Deep Neural Networks by Activation Clustering" (arXiv 1811.03728).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

ClusterRule = Literal["relative_size", "silhouette", "smaller"]


class Clusters(NamedTuple):
    """A class in two parts."""

    smaller: Tensor
    """(n,) bool, the smaller cluster; all False where both have the same size."""

    score: Tensor
    """(n,) float64 in [-1, 1]: how much nearer to the smaller cluster's center, by the distance of the centers."""

    share: float
    """The smaller cluster's part of the class."""

    silhouette: float
    """Mean silhouette of the class, how far the clusters are apart."""


def activation_clusters(features: Tensor, dims: int = 10, seed: int = 0) -> Clusters:
    """Reduce the features of one class by PCA and split them by 2-means.

    The paper reduces by ICA; PCA is the default of the authors' released code (D243).

    Args:
        features: (n, D) float, last hidden activations of the images of one class.
        dims: that are left; features with fewer stay as they are.
        seed: of the ten starts of 2-means.

    Raises:
        ValueError: features that are not finite or not (n, D), or fewer than three rows.

    >>> found = activation_clusters(torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [9.0, 9.0]]))
    >>> found.smaller.tolist(), found.share
    ([False, False, False, False, True], 0.2)
    """
    from sklearn.cluster import KMeans  # takes a second to import
    from sklearn.metrics import silhouette_score

    if features.ndim != 2 or not features.isfinite().all():
        raise ValueError(f"features are (n, D) finite numbers, not {tuple(features.shape)} or not finite")
    if len(features) < 3 or dims < 1:
        raise ValueError(f"two clusters take three rows and one dimension, not {len(features)} and {dims}")
    reduced = _principal(features.detach().cpu().double(), dims)
    none = torch.zeros(len(features), dtype=torch.bool)
    if not (reduced != reduced[0]).any():  # all images alike
        return Clusters(none, torch.zeros(len(features), dtype=torch.float64), 0.0, 0.0)
    fitted = KMeans(2, n_init=10, random_state=seed).fit(reduced.numpy())
    cluster = torch.from_numpy(fitted.labels_).long()
    size = cluster.bincount(minlength=2)
    few = int(size.argmin())
    center = torch.from_numpy(fitted.cluster_centers_)
    distance = torch.cdist(reduced, center)
    score = (distance[:, 1 - few] - distance[:, few]) / torch.dist(center[0], center[1])
    silhouette = float(silhouette_score(reduced.numpy(), fitted.labels_))
    return Clusters(none if size[0] == size[1] else cluster == few, score, int(size.min()) / len(features), silhouette)


def is_suspicious(
    clusters: Clusters, rule: ClusterRule = "relative_size", most: float = 0.35, least_silhouette: float = 0.10
) -> bool:
    """Whether the smaller cluster of a class counts as poison.

    Args:
        clusters: of one class.
        rule: ``relative_size``, its share is below ``most``; ``silhouette``, and the clusters are far apart, too;
            ``smaller``, always.
        most: the share, from the authors' released code.
        least_silhouette: the silhouette to exceed, from there, too.

    >>> is_suspicious(Clusters(torch.tensor([True]), torch.zeros(1), 0.2, 0.05), "silhouette")
    False
    """
    if not clusters.smaller.any():
        return False
    if rule == "smaller":
        return True
    return clusters.share < most and (rule == "relative_size" or clusters.silhouette > least_silhouette)


def reclassified_elsewhere(prediction: Tensor, label: int, threshold: float = 1.0) -> int | None:
    """Exclusionary reclassification: what a network that has not seen a cluster makes of it.

    With l images that it gives their label, and p that it gives the most frequent other class, the cluster is poison
    where l / p is not above the threshold; the other class is then the one that its images come from.

    Args:
        prediction: (m,) int64, the classes of the cluster's images.
        label: their given label.
        threshold: T, 1 (D244).

    Returns:
        The class that they come from; None where the cluster is legitimate.

    >>> reclassified_elsewhere(torch.tensor([3, 3, 3, 7, 7]), label=7), reclassified_elsewhere(torch.tensor([7, 3]), 7)
    (3, 3)
    >>> reclassified_elsewhere(torch.tensor([7, 7, 3]), label=7) is None
    True
    """
    others = prediction[prediction != label].bincount()
    most = int(others.max()) if len(others) else 0
    if not most or int((prediction == label).sum()) > threshold * most:
        return None
    return int(others.argmax())


def _principal(rows: Tensor, dims: int) -> Tensor:
    """(n, min(dims, D)) principal components, or the rows themselves where they have no more dimensions."""
    if rows.shape[1] <= dims:
        return rows
    centered = rows - rows.mean(0)
    direction = torch.linalg.svd(centered, full_matrices=False).Vh[:dims]
    principal: Tensor = centered @ direction.T
    return principal
