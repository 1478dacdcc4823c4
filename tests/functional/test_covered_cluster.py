"""A trigger whose covers carry right labels, on synthetic features: what finds it, and what it is not."""

import sys

import pytest
import torch
from torch import Tensor

from cleanse.functional.check_labels import COVERED, check_labels
from cleanse.functional.content_votes import Votes, content_votes
from cleanse.functional.covered_cluster import (
    Covered,
    _closer,
    _Data,
    _data,
    _most_bimodal,
    _nearest,
    covered_clusters,
    is_covered,
)
from cleanse.functional.trigger_cluster import _Splits, splits_from
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


def test_a_group_that_no_start_in_early_features_leads_to_is_found_by_what_its_images_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on MNIST, where digits fall into other groups first: here no start is left."""
    content, early, label, poison, covers = covered()
    white = whiten_within(early, label)
    margin, limit = content_votes(content, label, 20).margin, torch.full((5,), 4.8)
    nothing = torch.zeros(0)
    splits = _Splits(torch.zeros(440, 0), torch.zeros(64, 0), nothing, nothing)
    monkeypatch.setattr("cleanse.functional.covered_cluster._splits", lambda *_: splits)
    (found,) = covered_clusters(white, label, [0], margin, content, limit)
    assert torch.equal(found.posterior > 0.5, poison[label == 0])
    assert found.shares[covers].float().mean() > 0.98
    (blind,) = covered_clusters(white, label, [0], margin, torch.ones_like(content), limit)
    assert blind.separation == 0


def test_of_many_classes_the_most_bimodal_are_looked_at_so() -> None:
    generator = torch.Generator().manual_seed(0)
    label, second = torch.arange(9600) // 80, torch.arange(9600) % 4 == 0
    content = 4 * torch.randn(120, 30, generator=generator)[label] + torch.randn(9600, 30, generator=generator)
    apart = 50 + torch.arange(12)  # the classes that are in two parts
    content[torch.isin(label, apart) & second, 0] += 20
    assert set(_most_bimodal(content, label, range(120), 10, 2)) == set(apart.tolist())
    assert len(_most_bimodal(content, label, range(30), 10, 2)) == 10
    (group,) = _most_bimodal(content, label, [50], 10, 1)[50]
    assert group.equal(second[:80]) or group.equal(~second[:80])


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


@pytest.mark.parametrize(
    ("inside", "rest", "covers", "named"),
    [(0.9, 0.1, 0.1, True), (0.9, 0.1, 0.8, False), (0.9, 0.8, 0.1, False), (0.45, 0.1, 0.1, False)],
)
def test_what_looks_foreign_decides(
    inside: float, rest: float, covers: float, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 40 images of the group, 60 of the rest and 100 that share it, so many look like another class."""
    foreign = torch.cat([torch.arange(n) < share * n for n, share in ((40, inside), (60, rest), (100, covers))])
    asked: list[Tensor] = []

    def votes(content: Tensor, label: Tensor, k: int, voter: Tensor, voters: int, before: Votes | None) -> Votes:
        asked.append(voter)
        return Votes(label, label.float(), torch.where(foreign, 0.5, -0.5), label[:, None])

    monkeypatch.setattr("cleanse.functional.covered_cluster.content_votes", votes)
    found = Covered(9.0, (torch.arange(100) < 40).float(), torch.arange(200) >= 100)
    label, content = (torch.arange(200) >= 100).long(), torch.zeros(200, 2)
    nobody = Votes(label, label.float(), label.float(), label[:, None])
    assert is_covered(found, torch.arange(100), content, label, 20, nobody) is named
    assert asked[0].equal((torch.arange(200) >= 40) & (torch.arange(200) < 100))  # who shares it has no vote


def test_of_many_classes_those_count_that_the_group_is_nearest_to() -> None:
    center = torch.eye(60)[:50]
    data = _Data(torch.zeros(1, 1), torch.tensor([0, 0, 0]), torch.ones(50).long(), torch.zeros(50, 1), center)
    near = _nearest(data, torch.arange(3), center[[41, 41, 49]], torch.ones(50).long(), 2)
    assert near.tolist() == [41, 49]
    few = _nearest(data, torch.arange(3), center[[41, 41, 49]], (torch.arange(50) < 4).long(), 32)
    assert few.tolist() == [1, 2, 3]


def test_where_half_of_the_classes_have_such_a_group_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a third: it is a property of the data, as with clusters that are not shared."""
    content, early, true = scene(noise=0.4)

    def everywhere(white: Tensor, label: Tensor, suspects: list[int], *_: object) -> list[Covered]:
        some = (torch.arange(300) < 30).float(), torch.zeros(1500).bool()
        return [Covered(9.0 * (c < 2), *some) for c in suspects]

    rule = sys.modules["cleanse.functional.check_labels"]  # the package has the function under this name
    monkeypatch.setattr(rule, "covered_clusters", everywhere)
    monkeypatch.setattr(rule, "is_covered", lambda *_: True)
    assert not check_labels(content, early, true).sign.any()
    monkeypatch.setattr(rule, "is_covered", lambda found, rows, *_: bool((true[rows] == 1).all()))
    assert check_labels(content, early, true).sign.tolist() == [0, COVERED, 0, 0, 0]


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
    data = _data(white, label, content)
    rows = (label == 0).nonzero().flatten()
    group = poison[rows]
    found = _closer(data, rows, group, content, 0.0, 10, 1, 1)
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
