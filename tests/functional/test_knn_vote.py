"""Neighbors' votes against scikit-learn and a double loop."""

from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from cleanse.functional import knn_vote, relabel_confident
from cleanse.functional.knn_vote import knn_scores


def embeddings(n, classes, seed=0, d=16, spread=2.0):
    """Blobs that overlap, of uneven length, with random labels for a tenth."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (n,), generator=generator)
    center = torch.randn(classes, d, generator=generator)
    features = center[label] + spread * torch.randn(n, d, generator=generator)
    features *= torch.rand(n, 1, generator=generator) + 0.1
    noisy = torch.rand(n, generator=generator) < 0.1
    return features, torch.where(noisy, torch.randint(0, classes, (n,), generator=generator), label)


def plurality(neighbors, similarity, label, k):
    """The vote of one image, in words of Python."""
    votes, total = Counter(), Counter()
    for j in neighbors:
        votes[int(label[j])] += 1
        total[int(label[j])] += float(similarity[j])
    best = min(votes, key=lambda c: (-votes[c], -total[c], c))
    return best, votes[best] / k


@pytest.mark.parametrize("k", [1, 2, 7, 99])
def test_against_double_loop(k):
    """Every pair's cosine, sorted, the image itself left out."""
    features, label = embeddings(100, 4)
    x = features.double().numpy()
    expected = []
    for i in range(100):
        similarity = [float(x[i] @ x[j] / np.sqrt((x[i] @ x[i]) * (x[j] @ x[j]))) for j in range(100)]
        near = sorted((j for j in range(100) if j != i), key=lambda j: -similarity[j])[:k]
        expected.append(plurality(near, similarity, label, k))
    voted, confidence = knn_vote(features, label, k)
    assert voted.tolist() == [c for c, _ in expected]
    assert confidence.tolist() == pytest.approx([p for _, p in expected])


def test_against_sklearn():
    """The neighbors that scikit-learn finds, with the default k = floor(n / 2C)."""
    features, label = embeddings(700, 6, seed=1)
    k = 700 // 12
    distance, index = NearestNeighbors(metric="cosine", algorithm="brute").fit(features).kneighbors(n_neighbors=k)
    voted, confidence = knn_vote(features, label)
    for i in range(700):
        similarity = dict(zip(index[i], 1 - distance[i], strict=True))
        assert (int(voted[i]), pytest.approx(float(confidence[i]))) == plurality(index[i], similarity, label, k)


@pytest.mark.parametrize("block", [1, 7, 499, 500, 4096])
def test_blocks_make_no_difference(block):
    """Any block size gives the result of one block."""
    features, label = embeddings(500, 5)
    whole, part = knn_vote(features, label, block=500), knn_vote(features, label, block=block)
    assert whole[0].equal(part[0])
    assert whole[1].equal(part[1])


def test_order_of_samples_does_not_matter():
    """Which of equally similar images are neighbors depends on classes, not on places."""
    features, label = embeddings(300, 5)
    features = torch.cat([features, torch.eye(16).repeat(6, 1)])  # similarities among these are exactly 0 or 1
    label = torch.cat([label, torch.arange(96) % 5])
    order = torch.randperm(396, generator=torch.Generator().manual_seed(0))
    for k in (1, 3, 40):
        voted, confidence = knn_vote(features, label, k)
        again, confidence_again = knn_vote(features[order], label[order], k)
        assert voted[order].equal(again)
        assert confidence[order].equal(confidence_again)


def test_own_label_has_no_say():
    """Another label for image i does not change the result of image i."""
    features, label = embeddings(120, 3)
    voted, confidence = knn_vote(features, label, k=9)
    for i in range(0, 120, 7):
        other = label.clone()
        other[i] = 2 - other[i] if other[i] != 1 else 0
        again, confidence_again = knn_vote(features, other, k=9)
        assert again[i] == voted[i]
        assert confidence_again[i] == confidence[i]


def test_tied_votes():
    """Two against two, the larger summed similarity wins; exactly level, the smaller class."""
    angle = torch.tensor([0.0, 0.1, 1.4, 0.7, -0.7])
    features = torch.stack([angle.cos(), angle.sin()], 1)
    assert knn_vote(features, torch.tensor([9, 3, 3, 4, 4]), k=4)[0][0] == 4  # cos .1 + cos 1.4 < 2 cos .7
    assert knn_vote(features, torch.tensor([9, 4, 4, 3, 3]), k=4)[0][0] == 3
    voted, confidence = knn_vote(torch.eye(4)[[0, 0, 0, 0]], torch.tensor([9, 8, 5, 7]), k=3)
    assert voted.tolist() == [5, 5, 7, 5]
    assert confidence.tolist() == pytest.approx([1 / 3] * 4)


def test_of_level_neighbors_there_are_no_more_votes_than_k():
    """Four others at one distance, two of each class, and three votes: the lower class first."""
    features = torch.tensor([[1.0, 0.0]] + [[0.0, 1.0]] * 4)
    voted, share = knn_scores(features, torch.tensor([2, 0, 0, 1, 1]), k=3)
    assert share[0].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert voted[0] == 0
    assert torch.allclose(share.sum(1), torch.ones(5))


def test_level_neighbors():
    """More images equally similar than there is room for: those of the smaller classes."""
    features = torch.eye(2)[[0, 1, 1, 1, 1]]
    voted, confidence = knn_vote(features, torch.tensor([0, 7, 6, 7, 6]), k=3)
    assert voted[0] == 6
    assert confidence[0] == pytest.approx(2 / 3)


@pytest.mark.parametrize("k", [1, 10, 49])
def test_separated_classes(k):
    """Everything is accepted with confidence 1 = T, and nothing relabeled."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(100) % 2
    features = torch.eye(8)[label] + 0.05 * torch.randn(100, 8, generator=generator)
    voted, confidence = knn_vote(features, label, k)
    result = relabel_confident(label, voted, confidence)
    assert result.accepted.all()
    assert confidence.eq(1).all()
    assert result.threshold.item() == 1


def test_single_image_of_a_class():
    """It is never given its own class; the default k counts the classes that occur, whatever their numbers."""
    features, label = embeddings(40, 2)
    label[0], label[1:] = 90, label[1:] * 30
    voted, confidence = knn_vote(features, label)
    assert voted[0] != 90
    assert set(voted.tolist()) <= {0, 30, 90}
    assert (confidence * 6 - (confidence * 6).round()).abs().max() < 1e-6  # k = 40 // (2 * 3)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_by_size_the_only_image_of_a_class_is_nobodys_neighbor(k):
    """Also where it is the nearest of all, or k more than the others are: the next ones have the vote."""
    features = torch.tensor([[1, 0], [1, 0.05], [1, 0.1], [1, 0.15], [0, 1], [0.05, 1], [0.1, 1], [0.98, 0.06]])
    label = torch.tensor([0, 0, 0, 0, 1, 1, 1, 2])
    features, label = torch.cat([features, features[7:] + 0.01]), torch.cat([label, torch.tensor([3])])
    voted, share = knn_scores(features, label, k, by_size=True)
    assert share[:, 2:].eq(0).all()
    assert voted.lt(2).all()
    assert share.sum(1).allclose(torch.ones(9))
    assert k == 8 or voted.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0]


def test_by_size_where_every_class_has_one_image_they_are_neighbors():
    features, _ = embeddings(5, 2)
    assert knn_scores(features, torch.arange(5), 2, by_size=True)[0].ne(torch.arange(5)).all()


def test_lengths_and_precisions():
    """Cosine forgets lengths, even those whose squares leave float32; half precision and gradients do no harm."""
    features, label = embeddings(200, 4)
    voted = knn_vote(features, label)[0]
    for scale in (1e-30, 1e30):
        assert knn_vote(features * scale, label)[0].eq(voted).float().mean() > 0.99
    half = features.half().requires_grad_()
    again, confidence = knn_vote(half, label)
    assert again.equal(knn_vote(half.float(), label)[0])
    assert confidence.dtype == torch.float32
    assert not confidence.requires_grad


def test_refusals():
    features, label = embeddings(10, 2)
    for k in (0, 10):
        with pytest.raises(ValueError, match=f"k is between 1 and 9, the number of other images, not {k}"):
            knn_vote(features, label, k)
    with pytest.raises(ValueError, match=r"label \(n,\)"):
        knn_vote(features, label[:9])
    with pytest.raises(ValueError, match="n > 1"):
        knn_vote(features[:1], label[:1])
    with pytest.raises(ValueError, match="whole numbers from 0, not -1"):
        knn_vote(features, label - 1 - label)
    with pytest.raises(ValueError, match="block is"):
        knn_vote(features, label, block=0)
    for value, message in ((torch.nan, "NaN or infinite"), (torch.inf, "NaN or infinite"), (0.0, "zero vectors")):
        wrong = features.clone()
        wrong[3] = value
        with pytest.raises(ValueError, match=f"1 of 10 rows of features are {message}, the first is row 3"):
            knn_vote(wrong, label)


@pytest.mark.parametrize(("n", "classes", "k"), [(3, 2, 1), (12, 4, 1), (40, 4, 5)])
def test_k_is_half_the_mean_size_of_a_class_and_at_least_one(n, classes, k):
    features, label = torch.randn(n, 4, generator=torch.Generator().manual_seed(n)), torch.arange(n) % classes
    share = knn_scores(features, label)[1]
    assert share.shape == (n, classes)
    assert share.dtype == torch.float32
    assert share.equal(knn_scores(features, label, k=k)[1])
