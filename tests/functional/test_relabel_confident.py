"""Who is accepted, relabeled and dropped."""

import numpy as np
import pytest
import torch

from cleanse.functional import energy_vote, knn_vote, relabel_confident


def judged(n=1000, classes=5, seed=0):
    """Random labels, predictions that are right two times in three, and distinct confidences."""
    generator = torch.Generator().manual_seed(seed)
    label, other = torch.randint(0, classes, (2, n), generator=generator)
    prediction = torch.where(torch.rand(n, generator=generator) < 0.6, label, other)
    return label, prediction, torch.randperm(n, generator=generator) / n


@pytest.mark.parametrize("seed", range(5))
def test_partition(seed):
    """C-T6: the masks are disjoint and exhaustive, accepted labels stay, and new ones are new."""
    label, prediction, confidence = judged(seed=seed)
    result = relabel_confident(label, prediction, confidence)
    assert (result.accepted.int() + result.relabeled.int() + result.dropped.int()).eq(1).all()
    assert result.accepted.equal(label == prediction)
    assert result.label[result.accepted].equal(label[result.accepted])
    assert result.label[result.relabeled].equal(prediction[result.relabeled])
    assert result.label[result.relabeled].ne(label[result.relabeled]).all()
    assert result.label[result.dropped].eq(-1).all()
    assert result.relabeled.any() and result.dropped.any()


@pytest.mark.parametrize("percentile", [0.0, 29.0, 80.0, 99.9, 100.0])
def test_threshold(percentile):
    """C-T6, C.3.8: numpy's percentile of the accepted, and strictly above it."""
    label, prediction, confidence = judged()
    result = relabel_confident(label, prediction, confidence.double(), percentile)
    known = confidence[result.accepted].double()
    assert result.threshold.item() == pytest.approx(np.percentile(known.numpy(), percentile), abs=1e-12)
    assert result.relabeled.equal((label != prediction) & (confidence > result.threshold))
    assert int((known > result.threshold).sum()) == pytest.approx(len(known) * (1 - percentile / 100), abs=1)


def test_ties_at_the_threshold():
    """C.3.8: shares of k votes equal to T are not above it."""
    label, prediction = torch.zeros(12, dtype=torch.long), torch.tensor([0] * 10 + [1] * 2)
    result = relabel_confident(label, prediction, torch.tensor([0.9] * 10 + [0.9, 0.95]))
    assert result.relabeled.tolist() == [False] * 11 + [True]


def test_one_accepted_and_withheld_labels():
    """One accepted image is its own percentile; a withheld label is given or left out, never accepted."""
    result = relabel_confident(torch.tensor([0, -1, -1]), torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.6, 0.4]))
    assert result.threshold.tolist() == [0.5] and result.label.tolist() == [0, 1, -1]


@pytest.mark.parametrize(("vote", "percentile"), [(knn_vote, 80.0), (knn_vote, 20.0), (energy_vote, 80.0)])
def test_planted_poison(vote, percentile):
    """C-T7: 5 % of class 0 labeled 1 among three blobs: rejected, and given 0 back where relabeled."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(3).repeat_interleave(200)
    features = torch.eye(3, 16)[truth] + 0.15 * torch.randn(600, 16, generator=generator)
    label = truth.clone()
    label[:10] = 1
    result = relabel_confident(label, *vote(features, label), percentile=percentile)
    assert (~result.accepted[:10]).float().mean() >= 0.95
    assert result.label[:10][result.relabeled[:10]].eq(0).all()
    assert result.accepted[10:].float().mean() > 0.95
    assert percentile == 80 or result.relabeled[:10].any()


def test_refusals():
    label, confidence = torch.tensor([0, 1]), torch.tensor([0.5, 0.6])
    with pytest.raises(ValueError, match="none of the 2 predictions is the given label"):
        relabel_confident(label, 1 - label, confidence)
    with pytest.raises(ValueError, match="1 of 2 confidences are not finite"):
        relabel_confident(label, label, torch.tensor([0.5, torch.nan]))
    with pytest.raises(ValueError, match="percentile is between 0 and 100, not 101"):
        relabel_confident(label, label, confidence, 101)
    with pytest.raises(ValueError, match=r"are all \(n,\)"):
        relabel_confident(label, label[:1], confidence)
