"""A trigger in images of all classes, each under a wrong label, on synthetic features: found, and what it is not."""

import sys

import pytest
import torch
from torch import Tensor

from cleanse.functional import expected_flags
from cleanse.functional.check_labels import SPREAD, TRAIT, TRIGGER, check_labels
from cleanse.functional.content_votes import content_votes
from cleanse.functional.covered_cluster import Covered
from cleanse.functional.spread_cluster import spread_cluster
from cleanse.functional.trigger_cluster import Cluster
from cleanse.functional.whiten_within import whiten_within

from .conftest import scene

TRIGGERED = 30
"""Images of each class."""


def spread(labels: str = "next", size: float = 8.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Content, early features, given labels and poison: a tenth of each class, to the next class or to any other."""
    content, early, true = scene(noise=0.8)
    poison = torch.arange(1500) // 5 < TRIGGERED
    step = 1 if labels == "next" else 1 + torch.arange(1500) // 5 % 4
    early = early + 3 * torch.eye(64)[20 + true] + size * poison[:, None] * torch.linspace(1, 0, 64) / 4.6
    content = content + 2 * poison[:, None] * torch.eye(60)[59]
    return content, early, torch.where(poison, (true + step) % 5, true), poison


@pytest.mark.parametrize("labels", ["next", "random"])
def test_all_classes_are_named_together_and_their_poison_is_flagged(labels: str) -> None:
    content, early, label, poison = spread(labels)
    found = check_labels(content, early, label)
    assert (found.sign & SPREAD).all()
    assert not (found.sign & (TRIGGER | TRAIT)).any()
    assert (found.separation > found.limit).all()
    assert found.flagged[poison].float().mean() > 0.99
    assert found.flagged[~poison].float().mean() < 0.03
    assert (found.score[poison] > 1.5).float().mean() > 0.99
    assert (found.prediction == torch.arange(1500) % 5)[poison].float().mean() > 0.85
    assert found.relabel[poison].float().mean() > 0.5


def test_where_a_class_has_hardly_any_of_them_it_is_not_named() -> None:
    content, early, label, poison = spread()
    few = ~poison | (label != 2) | ((poison & (label == 2)).cumsum(0) <= 9)  # of 129, which is 26 a class
    found = check_labels(content[few], early[few], label[few])
    assert found.sign.tolist() == [SPREAD, SPREAD, 0, SPREAD, SPREAD]
    assert found.flagged[poison[few] & (label[few] == 2)].all()


def test_among_many_classes_a_few_of_each_are_enough() -> None:
    """Of 20 classes each has seven or eight of them: less than the ten that a cluster has to have in all."""
    content, early, label, poison = spread()
    part = torch.arange(1500) // 5 % 4
    found = check_labels(content + 3 * torch.eye(60)[40 + part], early, label * 4 + part, fewest=50)
    assert (found.sign & SPREAD).all()
    assert found.flagged[poison].float().mean() > 0.95


@pytest.mark.parametrize("strange", [0.0, 2.0])
def test_the_same_mark_on_images_under_their_own_label_names_nobody(strange: float) -> None:
    """Even if the marked images look less like their class than others do: old photographs, another camera."""
    content, early, _, marked = spread()
    noise = torch.randn(1500, 60, generator=torch.Generator().manual_seed(3))
    found = check_labels(content + strange * marked[:, None] * noise, early, torch.arange(1500) % 5)
    assert not (found.sign & SPREAD).any()


def test_shoes_with_wrong_labels_are_no_trigger() -> None:
    """A class that looks like no other one, also in early features, and a quarter of it under the labels of others."""
    content, early, true = scene(noise=0.8)
    early = early + 7 * (true == 4)[:, None] * torch.eye(64)[30]
    place = torch.arange(1500) // 5
    label = torch.where((true == 4) & (place < 80), place % 4, true)
    white, margin = whiten_within(early, label), content_votes(content, label, 20).margin
    assert spread_cluster(white, label, margin, torch.ones(1500, dtype=torch.bool)).separation < 3
    assert not (check_labels(content, early, label).sign & SPREAD).any()


def test_copies_of_five_pictures_are_no_cluster() -> None:
    content, early, label, poison = spread()
    true = torch.arange(1500) % 5
    assert (check_labels(content, early, label).sign & SPREAD).all()
    for c in range(5):
        content[poison & (true == c)] = content[poison & (true == c) & (label != true)][:1].clone()
    assert not (check_labels(content, early, label).sign & SPREAD).any()


def test_a_group_of_one_class_is_not_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the tests of single classes miss it: the words for several would be untrue."""
    content, early, label, _ = spread()
    one = (label == 0) & (torch.arange(1500) // 5 < TRIGGERED)
    keep = (torch.arange(1500) // 5 >= TRIGGERED) | one
    content, early, label = content[keep], early[keep], label[keep]
    rule = sys.modules["cleanse.functional.check_labels"]  # the package has the function under this name

    def blind(white: Tensor, label: Tensor, suspects: list[int], *_: object) -> list[Cluster]:
        sizes = [int((label == c).sum()) for c in suspects]
        return [Cluster(0.0, 0.0, 0, torch.zeros(size), torch.zeros(white.shape[1])) for size in sizes]

    monkeypatch.setattr(rule, "trigger_clusters", blind)
    nothing = Covered(0.0, torch.zeros(1), torch.zeros(len(label), dtype=torch.bool))
    monkeypatch.setattr(rule, "covered_clusters", lambda white, label, suspects, *_: [nothing for _ in suspects])
    assert not (check_labels(content, early, label).sign & SPREAD).any()


def test_a_class_with_its_own_trigger_is_told_from_those_with_another() -> None:
    """Two attacks in one set: a trigger that keeps the label, in class 0 alone, and an all-to-all one."""
    content, early, label, poison = spread()
    place = torch.arange(1500) // 5
    second = (label == 0) & (place > 200) & (place < 260)
    early = early + 9 * second[:, None] * torch.linspace(0, 1, 64) / 4.6
    found = check_labels(content, early, label)
    assert int(found.sign[0]) & TRIGGER
    assert found.separation[0] != found.separation[1]
    assert found.flagged[second].float().mean() > 0.95
    assert found.flagged[poison].float().mean() > 0.95


def test_spread_cluster_is_the_smaller_group_of_those_that_are_looked_at() -> None:
    content, early, label, poison = spread()
    white = whiten_within(early, label)
    margin = content_votes(content, label, 20).margin
    everyone = torch.ones(1500, dtype=torch.bool)
    found = spread_cluster(white, label, margin, everyone)
    assert torch.equal(found.posterior > 0.5, poison)
    assert found.separation > 4.5
    from_the_others = spread_cluster(white, label, torch.where(poison, -0.9, 0.9), everyone)
    assert ((from_the_others.posterior > 0.5) == poison).float().mean() > 0.99
    half = torch.arange(1500) % 2 == 0
    some = spread_cluster(white, label, margin, half)
    assert ((some.posterior > 0.5) == (poison & half)).float().mean() > 0.995
    assert not some.posterior[~half].any()
    # with few voters the others fall on one side of the middle
    few = spread_cluster(white, label, margin, everyone, voters=600)
    assert ((few.posterior > 0.5) == poison).float().mean() > 0.99


def test_of_several_starts_the_one_that_leads_farthest_counts() -> None:
    """Those that look most foreign are others: EM begun with them ends in two halves of nothing."""
    _, early, label, poison = spread()
    white, everyone = whiten_within(early, label), torch.ones(1500, dtype=torch.bool)
    others = (torch.arange(1500) % 40 == 39) & ~poison
    margin = torch.where(others, 0.9, torch.where(poison, 0.6, -0.9))
    assert spread_cluster(white, label, torch.where(others, 0.9, -0.9), everyone).separation < 3.5
    assert spread_cluster(white, label, margin, everyone).separation > 4.5


def test_without_surely_foreign_images_there_is_nothing_to_begin_with() -> None:
    white, label = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)), torch.arange(200) % 2
    margin, everyone = torch.full((200,), -0.5), torch.ones(200, dtype=torch.bool)
    assert spread_cluster(white, label, margin, everyone).separation == 0
    margin[:9] = 0.9
    assert spread_cluster(white, label, margin, everyone).separation == 0
    assert float(spread_cluster(white, label, margin, ~everyone).posterior.sum()) == 0


def test_other_shapes_are_refused() -> None:
    everyone = torch.ones(4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"label, margin and among are \(n,\)"):
        spread_cluster(torch.zeros(4, 2), torch.zeros(4).long(), torch.zeros(3), everyone)


def test_what_is_said_of_clean_images_leaves_the_cluster_out() -> None:
    content, early, label, _ = spread()
    found = check_labels(content, early, label)
    clean = found.score <= 1
    margin = content_votes(content, label, 20).margin
    assert expected_flags(margin[clean], label[clean]).unnamed < expected_flags(margin, label).unnamed
