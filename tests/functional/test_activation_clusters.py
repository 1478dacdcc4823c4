"""Clusters of activations, and the same from the authors' toolbox."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cleanse.functional import Clusters, activation_clusters, is_suspicious, reclassified_elsewhere


def blobs(clean: int, planted: int, dims: int = 32, apart: float = 4.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(clean + planted, dims, generator=generator)
    features[clean:, 0] += apart * 4
    return features


def test_a_planted_blob_is_the_smaller_cluster() -> None:
    found = activation_clusters(blobs(90, 10))
    assert found.smaller.nonzero().flatten().tolist() == list(range(90, 100))
    assert found.share == pytest.approx(0.1)
    assert is_suspicious(found, "relative_size")
    assert is_suspicious(found, "silhouette")


def test_the_score_is_high_in_the_smaller_cluster_and_has_no_unit() -> None:
    found, scaled = activation_clusters(blobs(90, 10)), activation_clusters(blobs(90, 10) * 7 + 5)
    assert (found.score[90:] > 0).all()
    assert (found.score[:90] < 0).all()
    assert found.score.abs().max() <= 1
    assert torch.allclose(found.score, scaled.score)


def test_the_order_of_rows_does_not_matter() -> None:
    order = torch.randperm(100, generator=torch.Generator().manual_seed(3))
    found, shuffled = activation_clusters(blobs(90, 10)), activation_clusters(blobs(90, 10)[order])
    assert torch.equal(shuffled.smaller, found.smaller[order])


def test_one_blob_is_not_set_apart() -> None:
    found = activation_clusters(blobs(140, 0, dims=10))
    assert found.silhouette < 0.105
    assert not is_suspicious(found._replace(silhouette=0.10, share=0.2), "silhouette")


@pytest.mark.parametrize(
    ("rule", "share", "silhouette", "expected"),
    [
        ("relative_size", 0.349, 0.0, True),
        ("relative_size", 0.35, 0.9, False),
        ("silhouette", 0.2, 0.11, True),
        ("silhouette", 0.2, 0.10, False),
        ("silhouette", 0.36, 0.9, False),
        ("smaller", 0.49, 0.0, True),
    ],
)
def test_rules(rule: str, share: float, silhouette: float, expected: bool) -> None:
    clusters = Clusters(torch.tensor([True, False]), torch.zeros(2), share, silhouette)
    assert is_suspicious(clusters, rule) is expected  # type: ignore[arg-type]


def test_of_equal_clusters_none_is_suspicious() -> None:
    found = activation_clusters(blobs(20, 20))
    assert not found.smaller.any()
    assert not is_suspicious(found, "smaller")


def test_images_that_are_all_alike_are_not_split() -> None:
    found = activation_clusters(torch.ones(20, 30))
    assert not found.smaller.any()
    assert (found.score == 0).all()


@pytest.mark.parametrize(
    ("own", "other", "expected"), [(30, 10, None), (5, 50, 3), (10, 10, 3), (11, 10, None), (4, 0, None)]
)
def test_reclassification(own: int, other: int, expected: int | None) -> None:
    prediction = torch.tensor([7] * own + [3] * other)
    assert reclassified_elsewhere(prediction, label=7) == expected


@pytest.mark.parametrize(
    "features", [torch.zeros(2, 3), torch.zeros(5), torch.full((5, 2), float("nan"))], ids=["few", "flat", "nan"]
)
def test_what_cannot_be_clustered_is_refused(features: Tensor) -> None:
    with pytest.raises(ValueError, match=r"features are \(n, D\)|take three rows"):
        activation_clusters(features)


def classes() -> list[Tensor]:
    """Four classes: planted 10 %, planted 30 %, planted 45 %, and one blob in two halves that differ in size."""
    return [blobs(90, 10), blobs(70, 30, seed=1), blobs(55, 45, seed=2), blobs(120, 30, apart=2.0, seed=3)]


def test_the_clusters_are_those_of_the_authors_toolbox() -> None:
    """PCA to 10 dimensions and 2-means; the toolbox does not seed its k-means, so that separated blobs are compared."""
    art = pytest.importorskip("art.defences.detector.poison.activation_defence")
    clusters, reduced = art.cluster_activations([c.double().numpy() for c in classes()], 2, 10, "PCA")
    for own, theirs in zip(map(activation_clusters, classes()), clusters, strict=True):
        few = int(np.bincount(theirs).argmin())
        assert own.smaller.tolist() == (theirs == few).tolist()
    assert reduced[0].shape == (100, 10)


@pytest.mark.parametrize(("rule", "analysis"), [("relative_size", "relative_size"), ("smaller", "size")])
def test_the_analyses_are_those_of_the_authors_toolbox(rule: str, analysis: str) -> None:
    """With shares that do not round to .35, and where a cluster is suspicious: without one its report raises."""
    art = pytest.importorskip("art.defences.detector.poison.clustering_analyzer")
    for found in map(activation_clusters, classes()[:2]):
        assert is_suspicious(found, rule)  # type: ignore[arg-type]
        analyze = getattr(art.ClusteringAnalyzer(), f"analyze_by_{analysis}")
        clean, _, _ = analyze([found.smaller.long().numpy()])
        assert found.smaller.tolist() == [not bool(x) for x in clean[0]]


def test_the_silhouettes_are_those_of_the_authors_toolbox() -> None:
    """Where no cluster is small: what it does with a small one loses the finding."""
    art = pytest.importorskip("art.defences.detector.poison.clustering_analyzer")
    features = classes()[2]
    own = activation_clusters(features, dims=32)  # not reduced: the same numbers
    given = [own.smaller.long().numpy()], [features.double().numpy()]
    _, _, report = art.ClusteringAnalyzer().analyze_by_silhouette_score(*given)
    assert own.silhouette == pytest.approx(float(report["class_0"]["avg_silhouette_score"]), abs=6e-5)
