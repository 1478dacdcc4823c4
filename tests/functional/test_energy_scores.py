"""Class energies against the formula written out."""

from math import exp, log

import pytest
import torch

from cleanse.functional import energy_scores, relabel_confident


def embeddings(n, classes, seed=0, d=16):
    """Blobs that overlap, of uneven length, in float64."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes, (n,), generator=generator)
    center = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    features = center[label] + torch.randn(n, d, generator=generator, dtype=torch.float64)
    return features * (torch.rand(n, 1, generator=generator) + 0.1), label


def others(label, classes):
    """(n, C): how many images of each class there are, the image itself left out."""
    member = torch.nn.functional.one_hot(label, classes)
    return member.sum(0) - member


@pytest.mark.parametrize("temperature", [1e-3, 0.07, 0.5, 100.0])
def test_identity(temperature):
    """Sum_c |I_c - i| exp(S_c) = 1, and max_c S_c <= -log |I_c*|."""
    features, label = embeddings(200, 5)
    scores, size = energy_scores(features, label, temperature), others(label, 5)
    assert ((size * scores.exp()).sum(1) - 1).abs().max() < 1e-12
    best, column = scores.max(1)
    assert (best + size.gather(1, column[:, None])[:, 0].double().log() <= 1e-12).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_where_the_naive_form_is_not(dtype):
    """At tau = 1e-3, exp(1000) would overflow."""
    features, label = embeddings(200, 5)
    scores = energy_scores(features.to(dtype), label, 1e-3)
    unit = torch.nn.functional.normalize(features.to(dtype), dim=1)
    assert scores.isfinite().all()
    assert scores.dtype == dtype
    assert not (unit @ unit.T / 1e-3).exp().isfinite().all()


def test_against_double_loop():
    """Eq. 6 in plain Python, at tau = .5."""
    features, label = embeddings(40, 3)
    z = [(row / row.norm()).tolist() for row in features]
    scores = energy_scores(features, label)
    for i in range(40):
        pair = {j: exp(sum(a * b for a, b in zip(z[i], z[j], strict=True)) / 0.5) for j in range(40) if j != i}
        for c in range(3):
            own = [pair[j] for j in pair if label[j] == c]
            assert scores[i, c].item() == pytest.approx(log(sum(own) / len(own) / sum(pair.values())), abs=1e-12)


def test_limits():
    """Hot, classes are ranked by mean similarity; cold, the nearest neighbor decides."""
    features, label = embeddings(150, 4)
    unit = torch.nn.functional.normalize(features, dim=1)
    similarity = (unit @ unit.T).fill_diagonal_(0)
    mean = similarity @ torch.nn.functional.one_hot(label, 4).double() / others(label, 4)
    hot = energy_scores(features, label, 1e5)
    assert hot.argsort(1).equal(mean.argsort(1))
    nearest = similarity.fill_diagonal_(-2).argmax(1)
    assert energy_scores(features, label, 1e-6).argmax(1).equal(label[nearest])


def test_own_label_has_no_say():
    """Another label for image i does not change row i, whose counts leave i out as well."""
    features, label = embeddings(100, 3)
    scores = energy_scores(features, label)
    for i in range(0, 100, 9):
        other = label.clone()
        other[i] = (other[i] + 1) % 3
        assert torch.allclose(energy_scores(features, other)[i], scores[i], atol=1e-12, rtol=0)


@pytest.mark.parametrize("block", [1, 7, 499, 4096])
def test_blocks_make_no_difference(block):
    """Any block size gives the result of one block."""
    features, label = embeddings(500, 5)
    whole = energy_scores(features, label, block=500)
    assert torch.allclose(energy_scores(features, label, block=block), whole, atol=1e-12, rtol=0)


def test_order_of_samples_does_not_matter():
    features, label = embeddings(300, 5)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    again = energy_scores(features[order], label[order])
    assert torch.allclose(again, energy_scores(features, label)[order], atol=1e-12, rtol=0)


def test_classes_without_another_image():
    """An absent class, and the only image of a class for itself: -inf, and the identity holds all the same."""
    features, label = embeddings(50, 2)
    label = torch.where(label == 1, 4, 0)
    label[7] = 2
    scores = energy_scores(features, label)
    assert scores.shape == (50, 5)
    assert scores[:, [1, 3]].eq(-torch.inf).all()
    assert scores[7, 2] == -torch.inf
    assert scores[:, 2].isfinite().sum() == 49
    assert ((others(label, 5) * scores.exp()).sum(1) - 1).abs().max() < 1e-12
    confidence, voted = energy_scores(features, label).max(1)
    assert voted[7] != 2
    assert confidence.isfinite().all()


def test_vote():
    """The highest score and its class; C-T5: separated classes are accepted whole."""
    label = torch.arange(100) % 2
    features = torch.eye(8)[label] + 0.05 * torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    scores = energy_scores(features, label, 0.1)
    confidence, voted = scores.max(1)
    assert voted.equal(label)
    assert confidence.dtype == torch.float32
    assert not relabel_confident(label, voted, confidence).relabeled.any()
    assert energy_scores(torch.ones(5, 2), torch.tensor([0, 2, 1, 1, 2]))[0].argmax() == 1  # exactly level with class 2


def test_refusals():
    features, label = embeddings(10, 2)
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature is above 0 and finite"):
            energy_scores(features, label, temperature)
    with pytest.raises(ValueError, match=r"label \(n,\)"):
        energy_scores(features, label[:9])
    with pytest.raises(ValueError, match="10 of 10 rows of features are zero vectors"):
        energy_scores(torch.zeros(10, 2), label)
