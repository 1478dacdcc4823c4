"""Labels for clusters by a vote of their members, and for images by the nearest cluster.

Pal, Wang, Yao, Liu 2023, "Towards Understanding How Self-training Tolerates Data Backdoor Poisoning", Algorithm 2.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


def cluster_labels(cluster: Tensor, label: Tensor, clusters: int, num_classes: int) -> Tensor:
    """The label that most members of each cluster are given (D151).

    Args:
        cluster: (n,) int64, of each labeled image.
        label: (n,) int64, as given, poisoned or not.
        clusters: K.
        num_classes: C.

    Returns:
        (K,) int64; of labels with equal votes the smallest, and -1 for a cluster without members.

    Raises:
        ValueError: another number of clusters than of labels, or an image without a label.

    >>> cluster_labels(torch.tensor([1, 1, 1, 0, 0]), torch.tensor([2, 2, 0, 2, 1]), 3, 3).tolist()
    [1, 2, -1]
    """
    if cluster.ndim != 1 or cluster.shape != label.shape:
        raise ValueError(f"cluster and label are both (n,), not {tuple(cluster.shape)} and {tuple(label.shape)}")
    if len(label) and int(label.min()) < 0:
        raise ValueError(f"{int((label < 0).sum())} images have no label: only labeled ones have a vote")
    votes = torch.bincount(cluster * num_classes + label, minlength=clusters * num_classes).view(clusters, num_classes)
    return torch.where(votes.any(1), votes.argmax(1), -1)


def cluster_vote(feature: Tensor, center: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """The label of each image's nearest cluster, and how sure it is (D151, D152).

    The confidence is ours, since the paper has none: a softmax over the negative squared distances to the centers,
    summed over the clusters that share the label.

    Args:
        feature: (n, D); brought to length one here.
        center: (K, D), of clusters of features of length one.
        label: (K,) int64, of the clusters; those with -1 take no part.

    Returns:
        label (n,) int64, confidence (n,) float in (0, 1].

    Raises:
        ValueError: shapes that do not fit, features that are not finite, or no cluster with a label.

    >>> found, confidence = cluster_vote(torch.tensor([[2.0, 0.0]]), torch.eye(2), torch.tensor([5, 3]))
    >>> found.item(), round(confidence.item(), 4)
    (5, 0.8808)
    """
    if feature.ndim != 2 or center.ndim != 2 or feature.shape[1] != center.shape[1] or len(center) != len(label):
        shapes = f"{tuple(feature.shape)}, {tuple(center.shape)} and {tuple(label.shape)}"
        raise ValueError(f"feature is (n, D), center (K, D) and label (K,), not {shapes}")
    if not feature.isfinite().all():
        raise ValueError(f"{int((~feature.isfinite().all(1)).sum())} of {len(feature)} features are not finite")
    if not (label >= 0).any():
        raise ValueError("no cluster has a label: give at least one labeled image")
    center, label = center[label >= 0].double(), label[label >= 0]
    share = (-torch.cdist(normalize(feature.double()), center).square()).softmax(1)
    found = label[share.argmax(1)]
    by_label = share @ one_hot(label).double()
    return found, by_label.gather(1, found[:, None])[:, 0].float()
