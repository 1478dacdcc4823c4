"""Labels for clusters, and for images by the nearest cluster."""

import math
import re
from collections import Counter

import pytest
import torch
from torch.nn.functional import normalize

from cleanse.functional import cluster_labels, cluster_vote


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(80, 6, generator=generator)
    center = normalize(torch.randn(5, 6, generator=generator), dim=1) * 0.9
    return feature, center, torch.tensor([2, 0, 2, 1, 3])


def test_labels_are_a_majority_and_a_tie_goes_to_the_smallest() -> None:
    generator = torch.Generator().manual_seed(1)
    cluster, label = (torch.randint(6, (200,), generator=generator) for _ in range(2))
    found = cluster_labels(cluster, label, 7, 6)
    for k in range(6):
        votes = Counter(label[cluster == k].tolist())
        assert found[k] == min(c for c, n in votes.items() if n == max(votes.values()))
    assert found[6] == -1  # nobody is in it
    assert cluster_labels(torch.tensor([0, 0]), torch.tensor([5, 3]), 1, 6).item() == 3


def test_an_image_has_the_label_of_the_nearest_center() -> None:
    """Against a double loop; the features are brought to length one, the centers are taken as they are."""
    feature, center, label = example()
    found, confidence = cluster_vote(feature, center, label)
    for i in range(len(feature)):
        unit = feature[i] / feature[i].norm()
        square = [float(((unit - c) ** 2).sum()) for c in center]
        assert found[i] == label[square.index(min(square))]
        weight = [math.exp(-s) for s in square]
        of_label = sum(w for w, c in zip(weight, label.tolist(), strict=True) if c == found[i])
        assert confidence[i].item() == pytest.approx(of_label / sum(weight), rel=1e-5)


def test_the_names_of_the_clusters_and_the_scale_of_the_features_do_not_matter() -> None:
    feature, center, label = example()
    order = torch.tensor([3, 0, 4, 2, 1])
    first, second = cluster_vote(feature, center, label), cluster_vote(7 * feature, center[order], label[order])
    assert torch.equal(first[0], second[0])
    assert torch.allclose(first[1], second[1])
    cluster = torch.arange(5).repeat(4)
    given = torch.arange(20) % 3
    assert torch.equal(
        cluster_labels(cluster, given, 5, 3)[order], cluster_labels(order.argsort()[cluster], given, 5, 3)
    )


def test_class_0_alone_is_a_label() -> None:
    feature, center, _ = example()
    found, confidence = cluster_vote(feature, center, torch.zeros(5, dtype=torch.int64))
    assert not found.any()
    assert torch.allclose(confidence, torch.ones(80))


def test_a_cluster_without_a_label_takes_no_part() -> None:
    feature, center, label = example()
    without = torch.tensor([0, 1, 3])
    label[[2, 4]] = -1
    for whole, part in zip(
        cluster_vote(feature, center, label), cluster_vote(feature, center[without], label[without]), strict=True
    ):
        assert torch.equal(whole, part)


def test_bad_input_is_refused() -> None:
    feature, center, label = example()
    for wrong in (
        (feature[:, :5], center, label), (feature[0], center, label), (feature, center[0], label),
        (feature, center, label[:4]),
    ):  # fmt: skip
        shapes = f"{tuple(wrong[0].shape)}, {tuple(wrong[1].shape)} and {tuple(wrong[2].shape)}"
        with pytest.raises(ValueError, match=re.escape(f"center (K, D) and label (K,), not {shapes}")):
            cluster_vote(*wrong)
    with pytest.raises(ValueError, match="1 of 80 features are not finite"):
        cluster_vote(feature.index_fill(0, torch.tensor([3]), torch.nan), center, label)
    with pytest.raises(ValueError, match="no cluster has a label"):
        cluster_vote(feature, center, torch.full((5,), -1))
    with pytest.raises(ValueError, match="1 images have no label"):
        cluster_labels(torch.tensor([0, 0]), torch.tensor([-1, 0]), 1, 1)
    with pytest.raises(ValueError, match=r"both \(n,\)"):
        cluster_labels(torch.tensor([0, 0]), torch.tensor([0]), 1, 1)
