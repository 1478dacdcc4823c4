"""A trigger whose covers carry right labels, on synthetic features: what finds it, and what it is not."""

import pytest
import torch
from torch import Tensor

from cleanse.functional.check_labels import COVERED, check_labels
from cleanse.functional.content_votes import content_votes
from cleanse.functional.covered_cluster import _class_content, _closer, _Data, covered_clusters, is_covered
from cleanse.functional.trigger_cluster import splits_from
from cleanse.functional.whiten_within import whiten_within

from .conftest import scene

POISON, COVERS = 140, 25
"""Images of the source, and of each of three other classes."""


def covered(size: float = 8.0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Content, early features, given labels, poison and covers: class 1 is poisoned into class 0, as TaCT does."""
    content, early, true = scene(noise=0.8)
    place = torch.arange(1500) // 5  # the how-maniest of its class
    poison, covers = (true == 1) & (place < POISON), (true > 1) & (place < COVERS)
    trigger = (poison | covers)[:, None]
    early = early + size * trigger * torch.linspace(1, 0, 64) / 4.6
    content = content + 4 * trigger * torch.eye(60)[59]  # in the content, too, so that poison votes for poison
    return content, early, torch.where(poison, 0, true), poison, covers


def test_the_class_that_covers_hide_is_named_and_its_poison_flagged() -> None:
    content, early, label, poison, covers = covered()
    found = check_labels(content, early, label)
    assert found.sign.tolist() == [COVERED, 0, 0, 0, 0]
    assert found.separation[0] > found.limit[0] > 4.7
    assert found.flagged[poison].float().mean() > 0.98
    assert found.flagged[covers].float().mean() < 0.1
    assert found.flagged[~poison].float().mean() < 0.05
    assert (found.score[poison] > 1).float().mean() > 0.98
    assert (found.prediction == torch.arange(1500) % 5)[poison].float().mean() > 0.9


def test_without_poison_what_covers_have_names_no_class() -> None:
    """Right labels everywhere, and a mark on a part of the images of each class: a scanner, a season."""
    content, early, true = scene(noise=0.8)
    marked = torch.arange(1500) // 5 < 100
    early = early + 8 * marked[:, None] * torch.linspace(1, 0, 64) / 4.6
    content = content + 4 * marked[:, None] * torch.eye(60)[59]
    found = check_labels(content, early, true)
    assert not found.sign.any()
    assert found.flagged.float().mean() < 0.05


def test_a_mark_that_one_class_has_most_often_is_no_trigger_while_its_images_look_like_their_class() -> None:
    content, early, true = scene(noise=0.8)
    place = torch.arange(1500) // 5
    marked = (place < 30) | ((true == 0) & (place < 150))
    early = early + 8 * marked[:, None] * torch.linspace(1, 0, 64) / 4.6
    found = check_labels(content, early, true)
    assert not found.sign.any()


def test_covered_clusters_finds_the_group_and_who_shares_it() -> None:
    content, early, label, poison, covers = covered()
    white = whiten_within(early, label)
    votes = content_votes(content, label, 20)
    limit = torch.full((5,), 4.8)
    attacked, *others = covered_clusters(white, label, range(5), votes.margin, content, limit)
    rows = (label == 0).nonzero().flatten()
    assert torch.equal(attacked.posterior > 0.5, poison[rows])
    assert (attacked.shares & ~covers).sum() <= 2
    assert attacked.shares[covers].float().mean() > 0.98
    assert is_covered(attacked, rows, content, label, 20, votes)
    for c, other in enumerate(others, 1):  # covers share it, but they are no group that looks foreign
        theirs = (label == c).nonzero().flatten()
        assert not other.separation or not is_covered(other, theirs, content, label, 20, votes)


def test_a_group_that_nobody_shares_has_no_controls() -> None:
    """A series of one class that looks like nothing else (signs in fog) is a matter of `trigger_clusters`."""
    content, early, label, _, covers = covered()
    white = whiten_within(early[~covers], label[~covers])
    margin = content_votes(content[~covers], label[~covers], 20).margin
    (found,) = covered_clusters(white, label[~covers], [0], margin, content[~covers], torch.full((5,), 4.8))
    assert found.separation == 0
    few = ~covers | (covers.cumsum(0) <= 9)
    white, margin = whiten_within(early[few], label[few]), content_votes(content[few], label[few], 20).margin
    (found,) = covered_clusters(white, label[few], [0], margin, content[few], torch.full((5,), 4.8))
    assert found.separation == 0


def test_the_limit_decides() -> None:
    content, early, label, _, _ = covered()
    white = whiten_within(early, label)
    margin = content_votes(content, label, 20).margin
    (found,) = covered_clusters(white, label, [0], margin, content, torch.full((5,), 4.8))
    above = torch.full((5,), found.separation + 0.01)
    (none,) = covered_clusters(white, label, [0], margin, content, above)
    assert (none.separation, float(none.posterior.sum()), int(none.shares.sum())) == (0.0, 0.0, 0)


def test_copies_of_one_picture_are_no_group() -> None:
    content, early, label, poison, _ = covered()
    content[poison] = content[poison][:1].clone()
    white = whiten_within(early, label)
    (found,) = covered_clusters(white, label, [0], torch.zeros(1500), content, torch.full((5,), 4.8), alike=0.99)
    assert found.separation == 0


def test_whitening_without_the_group_is_what_is_left_of_the_covariance() -> None:
    """The same round, with the covariance of all but the group added up again from the features."""
    content, early, label, poison, _ = covered()
    content, early = content.double(), early.double()
    white = whiten_within(early, label)
    size = label.bincount()
    sums = torch.stack([white[label == c].sum(0) for c in range(5)])
    data = _Data(white, label, size, sums, _class_content(content, label, size))
    rows = (label == 0).nonzero().flatten()
    group = poison[rows]
    found = _closer(data, rows, group, content, 0.0, 10, 1)
    assert found is not None

    kept = ~poison
    n, spread = len(label), torch.zeros(64, dtype=torch.float64)
    within = torch.zeros(64, 64, dtype=torch.float64)
    for c in range(5):
        everyone, some = early[label == c], early[(label == c) & kept]
        spread += (everyone - everyone.mean(0)).square().sum(0) / n
        within += (some - some.mean(0)).T @ (some - some.mean(0)) / n
    scale = spread.sqrt()
    factor = torch.linalg.cholesky(within / scale / scale[:, None] + 0.02 * torch.eye(64, dtype=torch.float64))
    again = torch.linalg.solve_triangular(factor, (early / scale).T, upper=False).T
    mean = torch.stack([again[(label == c) & kept].mean(0) for c in range(5)])
    basis = torch.linalg.svd((mean[1:] - mean[0]).T, full_matrices=False).U
    inside = again[rows] - (again[rows] @ basis) @ basis.T
    split = splits_from(inside - inside.mean(0), group.double()[:, None], 15)
    assert found.separation == pytest.approx(float(split.apart[0]), rel=0.02)
    assert torch.equal(found.posterior > 0.5, split.weight[:, 0] > 0.5)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"white is \(n, p\)"):
        covered_clusters(
            torch.zeros(4, 2), torch.zeros(3).long(), [0], torch.zeros(4), torch.zeros(4, 2), torch.ones(1)
        )
