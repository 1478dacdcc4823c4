"""Who is accepted, relabeled and dropped."""

import numpy as np
import pytest
import torch

from cleanse.functional import energy_scores, knn_vote, relabel_confident


def judged(n=1000, classes=5, seed=0):
    """Random labels, predictions that are right two times in three, and distinct confidences."""
    generator = torch.Generator().manual_seed(seed)
    label, other = torch.randint(0, classes, (2, n), generator=generator)
    prediction = torch.where(torch.rand(n, generator=generator) < 0.6, label, other)
    return label, prediction, torch.randperm(n, generator=generator) / n


@pytest.mark.parametrize("seed", range(5))
def test_partition(seed):
    """The masks are disjoint and exhaustive, accepted labels stay, and new ones are new."""
    label, prediction, confidence = judged(seed=seed)
    result = relabel_confident(label, prediction, confidence)
    assert (result.accepted.int() + result.relabeled.int() + result.dropped.int()).eq(1).all()
    assert result.accepted.equal(label == prediction)
    assert result.label[result.accepted].equal(label[result.accepted])
    assert result.label[result.relabeled].equal(prediction[result.relabeled])
    assert result.label[result.relabeled].ne(label[result.relabeled]).all()
    assert result.label[result.dropped].eq(-1).all()
    assert result.relabeled.any()
    assert result.dropped.any()


@pytest.mark.parametrize("percentile", [0.0, 29.0, 80.0, 99.9, 100.0])
def test_threshold(percentile):
    """numpy's percentile of the accepted, and above it; where it is their largest, also equal to it."""
    label, prediction, confidence = judged()
    result = relabel_confident(label, prediction, confidence.double(), percentile)
    known = confidence[result.accepted].double()
    assert result.threshold.item() == pytest.approx(np.percentile(known.numpy(), percentile), abs=1e-12)
    above = confidence >= result.threshold if percentile == 100 else confidence > result.threshold
    assert result.relabeled.equal((label != prediction) & above)
    assert int((known > result.threshold).sum()) == pytest.approx(len(known) * (1 - percentile / 100), abs=1)


def test_a_class_of_few_accepted_images_does_not_keep_the_next_from_its_own_threshold():
    """Class 0 has four accepted images, class 1 six: what looks like class 0 is dropped, like class 1 compared."""
    prediction = torch.tensor([0] * 4 + [1] * 6 + [0, 1])
    label = torch.tensor([0] * 4 + [1] * 6 + [1, 0])
    confidence = torch.tensor([0.5] * 4 + [0.5, 0.6, 0.6, 0.6, 0.6, 0.7] + [0.99, 0.99])
    result = relabel_confident(label, prediction, confidence, by_class=True)
    assert result.threshold.tolist() == [torch.inf, pytest.approx(0.6)]
    assert result.relabeled.tolist() == [False] * 11 + [True]


def test_a_tie_at_the_threshold_is_not_above_it():
    """Shares of k votes often equal T."""
    label, prediction = torch.zeros(12, dtype=torch.long), torch.tensor([0] * 10 + [1] * 2)
    result = relabel_confident(label, prediction, torch.tensor([0.9] * 9 + [1.0, 0.9, 0.95]))
    assert result.relabeled.tolist() == [False] * 11 + [True]
    assert not result.as_certain.any()


def test_where_the_accepted_are_certain_as_certain_is_enough():
    """T is 1, and no share of votes is above it: the paper's own example has all neighbors agree."""
    label, prediction = torch.zeros(12, dtype=torch.long), torch.tensor([0] * 10 + [1] * 2)
    result = relabel_confident(label, prediction, torch.tensor([0.5] * 2 + [1.0] * 8 + [1.0, 0.95]))
    assert result.threshold.tolist() == [1.0]
    assert result.relabeled.tolist() == [False] * 10 + [True, False]
    assert result.as_certain.tolist() == [False] * 10 + [True, False]


def test_a_threshold_for_each_predicted_class():
    """The same confidence is enough for one class and not for another; a class without accepted images gets nothing."""
    label = torch.tensor([0] * 6 + [1] * 6 + [0, 1, 0])
    prediction = torch.tensor([0] * 6 + [1] * 6 + [1, 0, 2])
    confidence = torch.tensor([0.1, 0.3] * 3 + [0.6, 0.8] * 3 + [0.5, 0.5, 0.99])
    result = relabel_confident(label, prediction, confidence, percentile=50, by_class=True)
    assert result.threshold.tolist() == pytest.approx([0.2, 0.7, float("inf")])
    assert result.relabeled.tolist() == [False] * 13 + [True, False]


@pytest.mark.parametrize(("accepted", "relabeled"), [(1, 0), (4, 0), (5, 2)])
def test_a_class_with_few_accepted_images_has_no_threshold_of_its_own(accepted, relabeled):
    """The confidence of one or two images is no percentile: whatever is as sure of their class would be taken."""
    label = torch.tensor([0] * 20 + [1] * accepted + [0, 0])
    prediction = torch.tensor([0] * 20 + [1] * accepted + [1, 1])
    confidence = torch.tensor([0.9] * 20 + [0.1] * accepted + [0.8, 0.8])
    result = relabel_confident(label, prediction, confidence, by_class=True)
    assert int(result.relabeled.sum()) == relabeled
    assert int(result.dropped.sum()) == 2 - relabeled
    assert not relabel_confident(label, prediction, confidence).relabeled.any()


def test_one_accepted_and_withheld_labels():
    """One accepted image is its own percentile; a withheld label is given or left out, never accepted."""
    result = relabel_confident(torch.tensor([0, -1, -1]), torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.6, 0.4]))
    assert result.threshold.tolist() == [0.5]
    assert result.label.tolist() == [0, 1, -1]


def energy(features, label):
    scores = energy_scores(features, label)
    return scores.argmax(1), scores.amax(1)


@pytest.mark.parametrize(("vote", "percentile"), [(knn_vote, 80.0), (knn_vote, 20.0), (energy, 80.0)])
def test_planted_poison(vote, percentile):
    """5 % of class 0 labeled 1 among three blobs: rejected, and given 0 back where relabeled."""
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


def test_the_threshold_is_the_papers_80th_percentile():
    confidence = torch.cat([torch.arange(101.0), torch.tensor([80.5, 79.5])])
    prediction = torch.cat([torch.zeros(101), torch.ones(2)]).long()
    result = relabel_confident(torch.zeros(103, dtype=torch.int64), prediction, confidence)
    assert result.threshold.tolist() == [80]
    assert result.relabeled.nonzero().flatten().tolist() == [101]
