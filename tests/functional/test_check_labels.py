"""The rule of `cleanse check`, on synthetic features; no encoder, no data."""

import pytest
import torch
from torch import Tensor

from cleanse.functional.check_labels import FOREIGN, TRAIT, TRIGGER, check_labels, separation_limits
from cleanse.functional.content_votes import VOTERS, content_votes
from cleanse.functional.count_scenes import count_scenes, likeness_of_twins
from cleanse.functional.expected_flags import expected_flags
from cleanse.functional.foreign_excess import foreign_excess, is_excess
from cleanse.functional.normal_scores import normal_scores
from cleanse.functional.trigger_cluster import _beyond, _splits, mixture, trigger_clusters
from cleanse.functional.voting_rows import voting_rows
from cleanse.functional.whiten_within import whiten_within

from .conftest import scene

LIMIT = 4.4
"""Of a class of 300 images beside classes without groups."""


def test_votes_leave_an_image_out() -> None:
    features = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.1, 0.99], [1.0, 0.05]])
    prediction, confidence, margin, near = content_votes(features, torch.tensor([0, 0, 1, 1, 1]), k=1)
    assert (prediction[4], confidence[4], near[:4, 0].tolist()) == (0, 1.0, [4, 4, 3, 2])
    assert margin[4] == 1.0
    assert margin[2] == -1.0


def test_more_neighbors_than_there_are_voters_are_all_of_them() -> None:
    features = torch.randn(12, 4, generator=torch.Generator().manual_seed(2))
    label = torch.arange(12) % 3
    assert all(
        torch.equal(a, b)
        for a, b in zip(content_votes(features, label, 50), content_votes(features, label, 11), strict=True)
    )
    voter = torch.arange(12) != 5
    some = content_votes(features, label, 50, voter)
    assert some.near.shape == (12, 10)
    assert 5 not in some.near
    assert all(set(row.tolist()) == set(range(12)) - {5, i} for i, row in enumerate(some.near) if i != 5)


def test_votes_keep_a_small_class_beside_large_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.tensor([0] * 500 + [1] * 12)
    features = 2.0 * torch.eye(2)[label] + torch.randn(512, 2, generator=generator)
    assert (content_votes(features, label, k=40).prediction == label)[500:].float().mean() > 0.7
    plain = torch.zeros(512, 2)
    unit = torch.nn.functional.normalize(features - features.mean(0))
    similarity = (unit @ unit.T).fill_diagonal_(-9)
    plain.scatter_add_(1, label[similarity.topk(40).indices], torch.ones(512, 40))
    assert (plain.argmax(1) == label)[500:].float().mean() < 0.3  # undivided votes lose it


@pytest.mark.parametrize("small", [1, 2, 3])
def test_a_class_of_a_few_images_attracts_nobody_and_keeps_them(small: int) -> None:
    """Divided by its size, the vote of one image among 300 of each other class would decide for all around it."""
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(6).repeat_interleave(torch.tensor([300] * 5 + [small]))
    center = 1.6 * torch.randn(6, 12, generator=generator)
    features = center[label] + 1.3 * torch.randn(len(label), 12, generator=generator)
    votes, without = content_votes(features, label), content_votes(features[:1500], label[:1500])
    assert not ((votes.prediction == 5) & (votes.margin > 0.6))[:1500].any()
    assert int((votes.margin[:1500] > 0.6).sum()) <= int((without.margin > 0.6).sum()) + 1
    assert small == 1 or (votes.margin[1500:] <= 0.6).float().mean() > 0.5


def test_an_image_alone_in_its_class_is_kept() -> None:
    """There is nothing of its class to compare it with; two that look foreign are flagged."""
    content, early, true = scene(n=400)
    alone, two = torch.where(torch.arange(400) == 7, 5, true), torch.where(torch.arange(400) % 300 == 7, 5, true)
    assert not check_labels(content, early, alone).flagged[7]
    assert check_labels(content, early, two).flagged[[7, 307]].tolist() == [True, True]


def test_only_voters_vote() -> None:
    content, _, true = scene()
    votes = content_votes(content, true, k=5, voter=true != 3)
    assert not (true[votes.near] == 3).any()
    assert not (votes.prediction == 3).any()


def votes_of_all(features: Tensor, label: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Everybody is compared with everybody at once: prediction, confidence, margin."""
    unit = torch.nn.functional.normalize(features - features.mean(0))
    similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
    voted = torch.nn.functional.one_hot(label[similarity.topk(k).indices]).sum(1).float()
    given = torch.nn.functional.one_hot(label)
    share = voted / (label.bincount() - given).clamp(min=1)
    share = share / share.sum(1, keepdim=True)
    own = (share * given).sum(1)
    return share.argmax(1), share.amax(1), share.masked_fill(given == 1, -1).amax(1) - own


def test_up_to_the_number_of_voters_all_vote_and_nothing_changes() -> None:
    assert VOTERS == 50_000
    content, early, true = scene(1000)
    votes = content_votes(content, true, most=1000)
    for value, plain in zip(votes, votes_of_all(content, true, 20), strict=False):
        assert torch.equal(value, plain)
    label = torch.where(torch.arange(1000) < 100, 3, true)
    early[:100] += 1.5
    every = check_labels(content, early, label)
    for given in (None, content_votes(content, label)):
        for one, other in zip(every, check_labels(content, early, label, given, voters=1000), strict=True):
            assert torch.equal(one, other)
    assert not torch.equal(every.confidence, check_labels(content, early, label, voters=800).confidence)


def test_with_fewer_voters_the_others_are_judged_by_them() -> None:
    content, early, true = scene(3000)
    poison = (torch.arange(3000) < 200) & (true != 3)
    early[poison] += 1.5
    label = torch.where(poison, 3, true)
    votes = content_votes(content, label, most=600)
    assert set(votes.near.unique().tolist()) <= set(voting_rows(label, 600).tolist())
    assert len(votes.near.unique()) > 550
    assert not (votes.near == torch.arange(3000)[:, None]).any()
    found = check_labels(content, early, label, voters=600)
    assert found.sign.tolist() == [0, 0, 0, TRIGGER, 0]
    assert found.flagged[poison].all()
    assert (found.prediction == true).float().mean() > 0.9


def test_who_loses_no_neighbor_keeps_them_and_the_others_look_again() -> None:
    content, _, true = scene(3000)
    gone = (torch.arange(3000) < 500) & (true == 2)
    first = content_votes(content, true, most=600)
    kept, anew = (content_votes(content, true, 20, ~gone, 600, before) for before in (first, None))
    for one, other in zip(kept, anew, strict=True):
        assert torch.equal(one, other)
    assert not gone[kept.near].any()
    same = (kept.near == first.near).all(1)
    assert 0 < same.sum() < 3000
    assert not torch.equal(kept.margin[same], first.margin[same])  # its class has fewer voters: each counts for more


def test_each_class_has_its_share_of_the_voters_and_small_ones_what_they_have() -> None:
    label = torch.tensor([0] * 6000 + [1] * 3000 + [3] * 60 + [4] * 7)[torch.randperm(9067)]
    rows = voting_rows(label, 1000)
    assert label[rows].bincount().tolist() == [662, 331, 0, 20, 7]
    assert rows.equal(rows.unique())
    assert rows.equal(voting_rows(label, 1000))
    assert not rows.equal(voting_rows(label, 1000, seed=1))
    assert (rows < 4533).float().mean() == pytest.approx(0.5, abs=0.1)  # not the first ones
    assert voting_rows(label, 9067).equal(torch.arange(9067))
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            voting_rows(label, wrong)
        with pytest.raises(ValueError, match="at least 1"):
            voting_rows(label, 10, wrong)
    with pytest.raises(ValueError, match="labels"):
        voting_rows(label[None], 10)


def test_scores_are_normal_quantiles_of_the_rank_among_other_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    value = torch.randint(30, (200,), generator=generator) / 10  # with ties
    label = torch.randint(4, (200,), generator=generator)
    label[label == 2] = 5
    for row, score in enumerate(normal_scores(value, label).tolist()):
        others = value[label != label[row]]
        rank = ((others < value[row]).sum() + (others <= value[row]).sum()) / 2 + 0.5
        assert score == pytest.approx(torch.special.ndtri(rank / (len(others) + 1)).item(), abs=1e-5)
    assert not normal_scores(value, torch.zeros(200, dtype=torch.int64)).any()
    with pytest.raises(ValueError, match="both"):
        normal_scores(value, label[1:])


def test_the_quantile_is_that_of_the_other_classes() -> None:
    generator = torch.Generator().manual_seed(1)
    for quantile in (0.01, 0.5, 0.93, 0.999):
        margin = torch.randint(40, (150,), generator=generator) / 10
        label = torch.randint(5, (150,), generator=generator)
        ratio, surely = foreign_excess(margin, label, quantile)
        for c in range(5):
            others = margin[label != c].sort().values
            above = margin[label == c] > others[min(len(others) - 1, int(quantile * len(others)))]
            assert surely[label == c].equal(above)
            assert float(ratio[c]) == pytest.approx(float(above.float().mean()) / (1 - quantile), rel=1e-4)


def test_splits_that_are_left_early_would_fail_in_the_end() -> None:
    _, early, true = scene(3000)
    early[:60] += 1.5
    label = torch.where(torch.arange(3000) < 60, 3, true)
    white, margin = whiten_within(early, label), torch.zeros(3000)
    found = [_splits(white[label == c], margin[label == c], 10, 10) for c in (1, 3)]
    whole, parts = (_beyond(white, label, [1, 3], found, 10, 5.0, part) for part in (3000, 100))
    assert torch.equal(whole.isnan(), parts.isnan())
    assert torch.equal(whole.nan_to_num(), parts.nan_to_num())
    assert 0 < whole.isnan().sum() < len(whole)
    for column, splits in zip(torch.split(whole, [len(s.middle) for s in found]), found, strict=True):
        c = 1 if splits is found[0] else 3
        past = (white[label != c] @ splits.direction > splits.middle).float().mean(0)
        assert torch.allclose(column[~column.isnan()], past[~column.isnan()])


def test_classes_looked_at_together_or_alone_have_the_same_clusters() -> None:
    content, early, true = scene(3000)
    label = torch.where(torch.arange(3000) < 60, 3, true)
    early[:60] += 1.5
    white, margin = whiten_within(early, label), torch.zeros(3000)
    together = trigger_clusters(white, label, [3, 0, 4], margin, content)
    for alone in (1, 2):
        for one, other in zip(
            together, trigger_clusters(white, label, [3, 0, 4], margin, content, at_once=alone), strict=True
        ):
            assert one.separation == other.separation
            assert torch.equal(one.posterior, other.posterior)
    assert together[0].separation > LIMIT > max(together[1].separation, together[2].separation)
    assert trigger_clusters(white, label, [], margin, content) == []


@pytest.mark.parametrize("block", [7, 100000])
def test_blocks_change_nothing(block: int) -> None:
    content, early, true = scene(300)
    assert torch.equal(content_votes(content, true, 5).margin, content_votes(content, true, 5, block=block).margin)
    assert torch.allclose(whiten_within(early, true), whiten_within(early, true, block=block), atol=1e-4)


def test_bad_features_are_refused() -> None:
    content, early, true = scene(100)
    content[3, 0] = torch.nan
    late = torch.ones(9000, 2)
    late[8999, 1] = torch.inf
    with pytest.raises(ValueError, match="finite"):
        whiten_within(late, torch.arange(9000) % 2)
    with pytest.raises(ValueError, match="finite"):
        content_votes(content, true)
    with pytest.raises(ValueError, match="equal"):
        whiten_within(torch.ones(100, 4), true)
    with pytest.raises(ValueError, match="two classes"):
        content_votes(early, torch.zeros(100, dtype=torch.int64))


@pytest.mark.parametrize("classes", [2, 3, 300])
def test_one_image_in_every_class_is_said(classes: int) -> None:
    features = torch.randn(classes, 4, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"each class has a single image, or copies of one: .*give classes of several"):
        content_votes(features, torch.arange(classes))
    rounded = features[:1] * (1 + 1e-3 * torch.rand(classes, 1))
    with pytest.raises(ValueError, match="all images are the same picture: "):
        content_votes(rounded, torch.arange(classes))


def test_too_few_voters_are_counted_in_their_classes() -> None:
    voter = torch.tensor([True, False, True, False])
    with pytest.raises(ValueError, match="two classes and three voters, not 2 voters in 2 classes"):
        content_votes(torch.eye(4), torch.tensor([0, 0, 1, 1]), voter=voter)


def test_whitening_gives_every_direction_one_spread() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    label = torch.arange(4000) % 2
    white = whiten_within(features + 3 * label[:, None], label, ridge=1e-6)
    inside = torch.cat([white[label == c] - white[label == c].mean(0) for c in (0, 1)])
    assert torch.allclose(inside.T @ inside / 4000, torch.eye(6), atol=1e-3)
    assert white.mean(0).abs().max() < 1e-3


def test_whitening_refuses_other_shapes() -> None:
    for features, label in (
        (torch.rand(6, 3), torch.arange(5)),
        (torch.rand(6), torch.arange(6)),
        (torch.rand(1, 3), torch.zeros(1).long()),
    ):
        with pytest.raises(ValueError, match="features are"):
            whiten_within(features, label)


def test_mixture_is_monotone() -> None:
    score = torch.cat([torch.randn(200, generator=torch.Generator().manual_seed(0)), torch.linspace(7, 9, 20)])[:, None]
    posterior = mixture(score, (score > 5).float())
    order = score[:, 0].argsort()
    assert (posterior[order, 0].diff() >= -1e-6).all()
    assert int((posterior > 0.5).sum()) == 20


@pytest.mark.parametrize("share", [20, 150, 280])
def test_cluster_is_found_whether_small_or_most_of_the_class(share: int) -> None:
    content, early, true = scene()
    early[(true == 2).nonzero().flatten()[:share]] += 1.5  # 12 standard deviations along one of 64 directions
    (found,) = trigger_clusters(whiten_within(early, true), true, [2], -torch.ones(len(true)), content)
    assert found.separation > LIMIT
    assert (found.posterior > 0.5).nonzero().flatten().tolist() == list(range(share))


def test_cluster_that_other_classes_share_is_none() -> None:
    content, early, true = scene()
    early[:300] += 1.5  # 60 of each class
    white, margin = whiten_within(early, true), -torch.ones(len(true))
    assert max(found.separation for found in trigger_clusters(white, true, range(5), margin, content)) < LIMIT


@pytest.mark.parametrize("spread", [0.0, 0.1], ids=["copies", "frames"])
def test_near_duplicates_are_one_picture_and_no_trigger(spread: float) -> None:
    content, early, true = scene()
    rows = (true == 1).nonzero().flatten()[:40]
    generator = torch.Generator().manual_seed(2)
    early[rows] = early[rows[0]].clone() + spread * torch.randn(40, 64, generator=generator)
    content[rows] = content[rows[0]].clone() + spread * torch.randn(40, 60, generator=generator)
    white, margin = whiten_within(early, true), -torch.ones(len(true))
    alike = likeness_of_twins(content, true)
    assert trigger_clusters(white, true, [1], margin, content)[0].separation > LIMIT
    assert trigger_clusters(white, true, [1], margin, content, alike)[0].separation < LIMIT
    assert not check_labels(content, early, true).sign.any()


def test_copies_of_one_foreign_picture_do_not_name_a_class() -> None:
    content, early, true = scene(3000)
    label = true.clone()
    label[(true == 2).nonzero().flatten()[:60]] = 0
    assert check_labels(content, early, label).sign[0]
    moved = (true == 2).nonzero().flatten()[:60]
    content[moved] = content[moved[0]].clone()
    assert not check_labels(content, early, label).sign.any()


def test_scenes_are_counted_by_the_distance_that_is_usual_in_a_class() -> None:
    content, _, true = scene()
    alike = likeness_of_twins(content, true)
    assert count_scenes(content[true == 0], alike) > 250
    assert count_scenes(content[true == 0].repeat(3, 1), alike) == count_scenes(content[true == 0], alike)
    baseline = content + 5  # another encoder, whose features all lie in one direction
    assert count_scenes(baseline[true == 0], likeness_of_twins(baseline, true)) > 250


def test_a_trait_is_seen_although_covers_hide_the_cluster() -> None:
    content, early, true = scene(3000)
    poison = (torch.arange(3000) < 40) & (true != 3)
    cover = (torch.arange(3000) > 2900) & (true != 3)
    early[poison | cover] += 1.5
    found = check_labels(content, early, torch.where(poison, 3, true))
    assert found.separation[3] < LIMIT
    assert (found.sign > 0).tolist() == [False, False, False, True, False]
    assert int(found.sign[3]) & TRAIT
    assert found.flagged[poison].all()
    assert not found.flagged[cover].any()


def test_wrong_labels_that_look_like_their_true_class_share_no_trait() -> None:
    content, early, true = scene(3000)
    early += 6 * torch.eye(64)[true]  # early features tell the classes apart
    generator = torch.Generator().manual_seed(5)
    wrong = torch.rand(3000, generator=generator) < 0.08
    label = torch.where(wrong, (true + torch.randint(1, 5, (3000,), generator=generator)) % 5, true)
    found = check_labels(content, early, label)
    assert found.gap.max() < 1.0
    assert not found.sign.any()


def test_where_each_class_is_alone_on_its_side_the_foreign_images_are_the_group() -> None:
    content, early, true = scene(1500)
    early += 12 * torch.eye(64)[true]  # exclusive: no other class lies where a class's own images lie
    poison = (torch.arange(1500) < 500) & (true != 3)
    label = torch.where(poison, 3, true)
    early[poison] += 1.0
    found = check_labels(content, early, label)
    assert found.flagged[poison].float().mean() > 0.95
    assert found.flagged[(label == 3) & ~poison].float().mean() < 0.1


def test_a_class_stands_out_against_the_groups_of_the_others_and_two_do_not_hide_one_another() -> None:
    size, calm = torch.full((10,), 10_000), torch.full((10,), 2.0)
    one, two = calm.clone(), calm.clone()
    one[3], two[[3, 4]] = 6.0, 6.0
    grouped = torch.full((10,), 5.0)
    named = [(s >= separation_limits(s, size, range(10))).nonzero().flatten().tolist() for s in (one, two, grouped)]
    assert named == [[3], [3, 4], []]


@pytest.mark.parametrize(("count", "expected", "named"), [(11, 2.0, False), (12, 2.0, True), (160, 50.0, True)])
def test_a_few_foreign_images_are_chance(count: int, expected: float, named: bool) -> None:
    assert bool(is_excess(torch.tensor(count), torch.tensor(expected))) == named


def test_excess_is_one_in_clean_data_and_under_random_noise() -> None:
    content, _, true = scene(4000)
    label = true.clone()
    label[:400] = torch.randint(5, (400,), generator=torch.Generator().manual_seed(3))
    for given in (true, label):
        ratio, _ = foreign_excess(content_votes(content, given).margin, given, quantile=0.9)
        assert ratio.max() < 2.5
    label = torch.where((torch.arange(4000) < 300) & (true != 0), 0, true)
    ratio, surely = foreign_excess(content_votes(content, label).margin, label)
    assert ratio.argmax() == 0
    assert ratio[0] > 4
    assert surely[:300].sum() > 10


def test_nothing_is_named_in_clean_data() -> None:
    for seed in range(3):
        content, early, true = scene(seed=seed)
        found = check_labels(content, early, true, lenient=0.99)
        assert not found.sign.any()


def test_trigger_is_named_flagged_and_relabeled() -> None:
    content, early, true = scene()
    poison = (torch.arange(1500) < 100) & (true != 3)
    label = torch.where(poison, 3, true)
    early[poison] += 1.5
    found = check_labels(content, early, label, elsewhere=0.999)
    assert found.sign.tolist() == [0, 0, 0, TRIGGER, 0]
    assert found.flagged[poison].all()
    assert found.score[poison].min() > found.score[~poison].max()
    moved = found.relabel & poison
    assert moved.sum() > 60
    assert (found.prediction[moved] == true[moved]).float().mean() > 0.8


def test_clean_label_trigger_is_never_kept() -> None:
    content, early, true = scene()
    poison = (torch.arange(1500) < 300) & (true == 3)
    early[poison] += 1.5
    found = check_labels(content, early, true)
    assert found.sign.tolist() == [0, 0, 0, TRIGGER, 0]
    assert found.flagged[poison].all()


def test_patch_that_early_features_do_not_show_is_named_by_votes() -> None:
    content, early, true = scene(3000)
    poison = (torch.arange(3000) < 400) & (true != 3)
    label = torch.where(poison, 3, true)
    found = check_labels(content, early, label)
    assert found.sign.tolist() == [0, 0, 0, FOREIGN, 0]
    assert found.flagged[poison].float().mean() > 0.8


def test_the_rule_is_deterministic() -> None:
    content, early, true = scene(600)
    for one, other in zip(check_labels(content, early, true), check_labels(content, early, true), strict=True):
        assert torch.equal(one, other)


def test_estimate_is_what_happens() -> None:
    content, early, true = scene(4000)
    margin = content_votes(content, true).margin
    none, named, _ = expected_flags(margin, true)
    found = check_labels(content, early, true)
    assert none == pytest.approx(found.flagged.float().mean().item(), abs=0.02)
    assert named >= 0
    one = torch.where((torch.arange(4000) < 900) & (true != 0), 0, true)
    assert (
        expected_flags(content_votes(content, one).margin, one)[0] < 2 * none + 0.01
    )  # one class's poison is left out


def test_few_images_are_no_evidence_of_a_cluster() -> None:
    content, _, true = scene(200)
    early = torch.randn(200, 400, generator=torch.Generator().manual_seed(4))
    assert not check_labels(content, early, true, lenient=0.99).sign.any()
