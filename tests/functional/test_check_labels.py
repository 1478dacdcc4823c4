"""The rule of `cleanse check`, on synthetic features; no encoder, no data."""

import pytest
import torch
from torch import Tensor

from cleanse.functional.check_labels import FOREIGN, TRAIT, TRIGGER, check_labels, separation_limits
from cleanse.functional.content_votes import content_votes
from cleanse.functional.count_scenes import count_scenes, likeness_of_twins
from cleanse.functional.expected_flags import expected_flags
from cleanse.functional.foreign_excess import foreign_excess, is_excess
from cleanse.functional.trigger_cluster import mixture, trigger_cluster
from cleanse.functional.whiten_within import whiten_within

LIMIT = 4.4
"""Of a class of 300 images beside classes without groups."""


def scene(n: int = 1500, classes: int = 5, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """(n, 60) content features with one label in ten unclear, early features without any content, true labels."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(n) % classes
    other = torch.randint(classes, (n,), generator=generator)
    unclear = (torch.rand(n, generator=generator) < 0.1)[:, None]
    content = 3 * torch.eye(60)[true] + 0.4 * torch.randn(n, 60, generator=generator)
    content = torch.where(unclear, content / 2 + 1.5 * torch.eye(60)[other], content)
    return content, torch.randn(n, 64, generator=generator), true


def test_votes_leave_an_image_out() -> None:
    features = torch.tensor([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.1, 0.99], [1.0, 0.05]])
    share, margin = content_votes(features, torch.tensor([0, 0, 1, 1, 1]), k=1)
    assert share[4].tolist() == [1.0, 0.0]
    assert margin[4] == 1.0
    assert margin[2] == -1.0


def test_votes_keep_a_small_class_beside_large_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.tensor([0] * 500 + [1] * 12)
    features = 2.0 * torch.eye(2)[label] + torch.randn(512, 2, generator=generator)
    share, _ = content_votes(features, label, k=40)
    assert (share.argmax(1) == label)[500:].float().mean() > 0.7
    plain = torch.zeros(512, 2)
    unit = torch.nn.functional.normalize(features - features.mean(0))
    similarity = (unit @ unit.T).fill_diagonal_(-9)
    plain.scatter_add_(1, label[similarity.topk(40).indices], torch.ones(512, 40))
    assert (plain.argmax(1) == label)[500:].float().mean() < 0.3  # undivided votes lose it


def test_only_voters_vote() -> None:
    content, _, true = scene()
    share, _ = content_votes(content, true, k=5, voter=true != 3)
    assert share[:, 3].max() == 0
    assert torch.allclose(share.sum(1), torch.ones(len(true)))


@pytest.mark.parametrize("block", [7, 100000])
def test_blocks_change_nothing(block: int) -> None:
    content, early, true = scene(300)
    assert torch.equal(content_votes(content, true, 5)[1], content_votes(content, true, 5, block=block)[1])
    assert torch.allclose(whiten_within(early, true), whiten_within(early, true, block=block), atol=1e-4)


def test_bad_features_are_refused() -> None:
    content, early, true = scene(100)
    content[3, 0] = torch.nan
    with pytest.raises(ValueError, match="finite"):
        content_votes(content, true)
    with pytest.raises(ValueError, match="equal"):
        whiten_within(torch.ones(100, 4), true)
    with pytest.raises(ValueError, match="two classes"):
        content_votes(early, torch.zeros(100, dtype=torch.int64))


def test_whitening_gives_every_direction_one_spread() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(4000, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    label = torch.arange(4000) % 2
    white = whiten_within(features + 3 * label[:, None], label, ridge=1e-6)
    inside = torch.cat([white[label == c] - white[label == c].mean(0) for c in (0, 1)])
    assert torch.allclose(inside.T @ inside / 4000, torch.eye(6), atol=1e-3)
    assert white.mean(0).abs().max() < 1e-3


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
    found = trigger_cluster(whiten_within(early, true), true, 2, -torch.ones(len(true)), content)
    assert found.separation > LIMIT
    assert (found.posterior > 0.5).nonzero().flatten().tolist() == list(range(share))


def test_cluster_that_other_classes_share_is_none() -> None:
    content, early, true = scene()
    early[:300] += 1.5  # 60 of each class
    white, margin = whiten_within(early, true), -torch.ones(len(true))
    found = [trigger_cluster(white, true, c, margin, content).separation for c in range(5)]
    assert max(found) < LIMIT


@pytest.mark.parametrize("spread", [0.0, 0.1], ids=["copies", "frames"])
def test_near_duplicates_are_one_picture_and_no_trigger(spread: float) -> None:
    content, early, true = scene()
    rows = (true == 1).nonzero().flatten()[:40]
    generator = torch.Generator().manual_seed(2)
    early[rows] = early[rows[0]].clone() + spread * torch.randn(40, 64, generator=generator)
    content[rows] = content[rows[0]].clone() + spread * torch.randn(40, 60, generator=generator)
    white, margin = whiten_within(early, true), -torch.ones(len(true))
    alike = likeness_of_twins(content, true)
    assert trigger_cluster(white, true, 1, margin, content).separation > LIMIT
    assert trigger_cluster(white, true, 1, margin, content, alike).separation < LIMIT
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
        ratio, _ = foreign_excess(content_votes(content, given)[1], given, quantile=0.9)
        assert ratio.max() < 2.5
    label = torch.where((torch.arange(4000) < 300) & (true != 0), 0, true)
    ratio, surely = foreign_excess(content_votes(content, label)[1], label)
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
    _, margin = content_votes(content, true)
    none, named, _ = expected_flags(margin, true)
    found = check_labels(content, early, true)
    assert none == pytest.approx(found.flagged.float().mean().item(), abs=0.02)
    assert named >= 0
    one = torch.where((torch.arange(4000) < 900) & (true != 0), 0, true)
    assert expected_flags(content_votes(content, one)[1], one)[0] < 2 * none + 0.01  # one class's poison is left out


def test_few_images_are_no_evidence_of_a_cluster() -> None:
    content, _, true = scene(200)
    early = torch.randn(200, 400, generator=torch.Generator().manual_seed(4))
    assert not check_labels(content, early, true, lenient=0.99).sign.any()
