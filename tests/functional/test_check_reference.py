"""The rule of `cleanse check` against the same rule in loops, one class and one image at a time."""

import inspect
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cleanse.defenses import LabelCheck
from cleanse.functional.check_labels import (
    FOREIGN,
    TRAIT,
    TRIGGER,
    Checked,
    _foreign_side,
    _is_the_class,
    check_labels,
    separation_limits,
)  # fmt: skip
from cleanse.functional.content_votes import content_votes
from cleanse.functional.count_scenes import count_scenes, likeness_of_twins
from cleanse.functional.foreign_cluster import foreign_cluster
from cleanse.functional.foreign_excess import foreign_excess, is_excess
from cleanse.functional.normal_scores import normal_scores
from cleanse.functional.shared_trait import class_means, shared_trait
from cleanse.functional.trigger_cluster import (
    Cluster,
    _best,
    _middle,
    _separation,
    _Splits,
    _splits,
    _starts,
    mixture,
    trigger_clusters,
)  # fmt: skip
from cleanse.functional.whiten_within import whiten_within

from .conftest import scene

Array = NDArray[np.float64]


def double(n: int = 1200, classes: int = 6, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """`scene` in double precision, so that the order of a sum decides nothing."""
    content, early, true = scene(n, classes, seed, noise=0.5)
    return content.double(), early.double(), true


def clean() -> tuple[Tensor, Tensor, Tensor]:
    content, early, true = double()
    generator = torch.Generator().manual_seed(5)
    wrong = torch.rand(1200, generator=generator) < 0.08
    return content, early, torch.where(wrong, (true + torch.randint(1, 6, (1200,), generator=generator)) % 6, true)


def patch() -> tuple[Tensor, Tensor, Tensor]:
    content, early, true = double(seed=1)
    return content, early, torch.where((torch.arange(1200) < 160) & (true != 3), 3, true)


def trigger() -> tuple[Tensor, Tensor, Tensor]:
    content, early, true = double(seed=2)
    poison = (torch.arange(1200) < 90) & (true != 3)
    early[poison] += 1.5
    return content, early, torch.where(poison, 3, true)


def both() -> tuple[Tensor, Tensor, Tensor]:
    """A trigger's cluster in class 1; in class 4 another, and foreign images beside it."""
    content, early, true = double(2400, seed=3)
    row = torch.arange(2400)
    label = torch.where((row < 90) & (true != 1), 1, true)
    label = torch.where((row >= 500) & (row < 700) & (true != 4), 4, label)
    early[(row < 90) & (true != 1)] += 1.5
    early[(row >= 500) & (row < 580) & (true != 4)] -= 1.5
    return content, early, label


def trait() -> tuple[Tensor, Tensor, Tensor]:
    """Covers hide the cluster."""
    content, early, true = double(3000, 5, seed=4)
    row = torch.arange(3000)
    poison, cover = (row < 40) & (true != 3), (row > 2900) & (true != 3)
    early[poison | cover] += 1.5
    return content, early, torch.where(poison, 3, true)


def small() -> tuple[Tensor, Tensor, Tensor]:
    """A class of 40 with a group of its own, one of 6, and one without any image."""
    content, early, true = double(1320, seed=6)
    keep = ~(((true == 2) & (torch.arange(1320) > 250)) | ((true == 5) & (torch.arange(1320) > 36)))
    content, early, true = content[keep], early[keep], true[keep]
    early[(true == 2).nonzero().flatten()[:15]] += 2
    return content, early, torch.where(true == 4, 7, true)


def most() -> tuple[Tensor, Tensor, Tensor]:
    """Four fifths of class 3 share something by themselves, and so does the poison in it."""
    content, early, true = double(1500, 5, seed=7)
    row = torch.arange(1500)
    poison = (row < 60) & (true != 3)
    early[poison | ((true == 3) & (row % 4 != 0))] += 1.5
    return content, early, torch.where(poison, 3, true)


SCENES = {
    "clean": clean,
    "patch": patch,
    "trigger": trigger,
    "both": both,
    "trait": trait,
    "small": small,
    "most": most,
}
NUMBERS: list[dict[str, Any]] = [
    {},
    {"k": 13, "separate": 3.1, "excess": 1.5, "trait": 0.7, "smallest": 6, "fewest": 30, "lenient": 0.3,
     "elsewhere": 0.45, "certain": 0.6},
    {"voters": 700, "smallest": 17, "fewest": 210, "lenient": 0.85, "elsewhere": 0.2, "certain": 0.95},
]  # fmt: skip


def by_hand(content: Tensor, early: Tensor, label: Tensor, **given: Any) -> Checked:
    """What `check_labels` says it does, one class and one image at a time."""
    number = {name: p.default for name, p in inspect.signature(check_labels).parameters.items()} | given
    n, classes = len(label), int(label.max()) + 1
    white = whiten_within(early, label)
    first = content_votes(content, label, number["k"], most=number["voters"])
    alike = likeness_of_twins(content, label)
    size = [int((label == c).sum()) for c in range(classes)]
    judged = [c for c in range(classes) if n >= early.shape[1] and size[c] >= number["fewest"]]
    clusters = {
        c: trigger_clusters(white, label, [c], first.margin, content, alike, number["smallest"])[0] for c in judged
    }
    separation = torch.zeros(classes).double()
    for c in judged:
        separation[c] = clusters[c].separation
    limit = separation_limits(separation, torch.tensor(size), judged, number["separate"])
    _, surely = foreign_excess(first.margin, label)
    sides = {
        c: _foreign_side(clusters[c].posterior, surely[label == c], number["excess"])
        for c in judged
        if separation[c] >= limit[c]
    }
    for c in list(sides):
        members = (label == c).nonzero().flatten()[sides[c] > 0.5].tolist()
        foreign = torch.tensor(sum(bool(surely[i]) for i in members))
        many = bool(is_excess(foreign, torch.tensor(0.01 * len(members)), number["excess"]))
        plain = sum(float(first.margin[i]) <= 0 for i in members) > len(members) / 2
        if many and plain and len(members) > size[c] / 2:
            del sides[c]
    named = list(sides)
    if len(named) > max(1, sum(s > 0 for s in size) // 3):
        named = []
    posterior = [0.0] * n
    for c in named:
        for i, value in zip((label == c).nonzero().flatten().tolist(), sides[c].tolist(), strict=True):
            posterior[i] = value
    inside = torch.tensor([p > 0.1 for p in posterior])
    votes = content_votes(content, label, number["k"], ~inside, number["voters"]) if inside.any() else first
    margin = votes.margin
    rest = (~inside).nonzero().flatten()
    ratio_of_rest, surely = foreign_excess(margin[rest], label[rest])
    normal = normal_scores(margin[rest], label[rest])
    sign, ratio, gap = [TRIGGER * (c in named) for c in range(classes)], [0.0] * classes, [0.0] * classes
    typical = torch.tensor([not inside[i] and margin[i] < 0 for i in range(n)])
    mean = class_means(white, label, typical, classes)
    for c in range(classes):
        rows = rest[label[rest] == c]
        if c < len(ratio_of_rest):
            ratio[c] = float(ratio_of_rest[c])
        foreign = count_scenes(content[rest[surely & (label[rest] == c)]], alike)
        enough = bool(is_excess(torch.tensor(foreign), torch.tensor(0.01 * len(rows)), number["excess"]))
        sign[c] += FOREIGN * (enough and foreign >= number["smallest"])
        if c in judged and 2 * number["smallest"] <= len(rows) < len(rest):
            own = normal[label[rest] == c]
            value, group = shared_trait(white[rows], margin[rows], own, votes.prediction[rows], mean, c)
            if value < number["trait"] or count_scenes(content[rows[group]], alike) >= number["smallest"]:
                gap[c] = value
        sign[c] += TRAIT * (gap[c] >= number["trait"])
    score, flagged = [0.0] * n, [False] * n
    somebody = any(sign)
    for i in range(n):
        score[i] = 1 + posterior[i] if inside[i] else float(margin[i])
        flagged[i] = bool(inside[i]) or float(margin[i]) > number["elsewhere" if somebody else "lenient"]
    for c in range(classes):
        if sign[c] < FOREIGN:
            continue
        rows = rest[label[rest] == c]
        group = foreign_cluster(white[rows], margin[rows], normal[label[rest] == c])
        for i, belongs in zip(rows.tolist(), group.tolist(), strict=True):
            looks = float(margin[i])
            flagged[i] = flagged[i] or belongs > 0.5 or looks > 0.5 or (looks > 0 and belongs > 0.01)
            score[i] = min(2.0, max(score[i], belongs + ((1 + looks) / 2 if looks > 0 else 0)))
    relabel = [
        flagged[i]
        and score[i] > 1
        and int(votes.prediction[i]) != int(label[i])
        and float(votes.confidence[i]) >= number["certain"]
        for i in range(n)
    ]
    return Checked(
        torch.tensor(sign), separation, limit, torch.tensor(ratio).double(), torch.tensor(gap).double(),
        torch.tensor(score).double(), torch.tensor(flagged), votes.prediction, votes.confidence,
        torch.tensor(relabel),
    )  # fmt: skip


@pytest.mark.parametrize("number", range(len(NUMBERS)))
@pytest.mark.parametrize("name", SCENES)
def test_the_rule_is_what_it_says(name: str, number: int) -> None:
    features = SCENES[name]()
    found, wanted = (rule(*features, **NUMBERS[number]) for rule in (check_labels, by_hand))
    for field, one, other in zip(Checked._fields, found, wanted, strict=True):
        assert one.dtype == other.dtype, field
        assert one.shape == other.shape, field
        assert torch.allclose(one.double(), other.double(), atol=1e-9), field


def test_who_is_judged_by_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes of at least `fewest` images, if there are at least as many images as early features."""
    seen: list[tuple[list[int], int]] = []

    def spy(white: Tensor, label: Tensor, judged: list[int], *rest: Any) -> list[Cluster]:
        seen.append((judged, rest[-1]))
        return trigger_clusters(white, label, judged, *rest)

    monkeypatch.setattr(sys.modules[check_labels.__module__], "trigger_clusters", spy)
    content, early, label = trigger()
    size = label.bincount().tolist()
    largest = size.index(max(size))
    check_labels(content, early, label, fewest=size[largest], smallest=13)
    check_labels(content, early, label, fewest=size[largest] + 1)
    wide = torch.randn(len(label), len(label) + 1, generator=torch.Generator().manual_seed(0)).double()
    check_labels(content, wide[:, 1:], label)
    check_labels(content, wide, label)
    assert seen == [([largest], 13), ([], 10), (list(range(6)), 10), ([], 10)]


@pytest.mark.parametrize(("classes", "named"), [(5, []), (6, [1, 4])])
def test_groups_in_more_than_a_third_of_the_classes_say_nothing(classes: int, named: list[int]) -> None:
    content, early, true = double(400 * classes, classes, seed=3)
    row, label = torch.arange(400 * classes), true.clone()
    for start, target in ((0, 1), (500, 4)):
        poison = (row >= start) & (row < start + 90) & (true != target)
        early[poison] += 1.5 if target == 1 else -1.5
        label[poison] = target
    found = check_labels(content, early, label)
    assert (found.sign & TRIGGER).nonzero().flatten().tolist() == named
    assert (found.separation >= found.limit).nonzero().flatten().tolist() == [1, 4]


def test_the_scenes_bring_every_sign_alone_and_together() -> None:
    signs = {name: set(check_labels(*make()).sign.tolist()) for name, make in SCENES.items()}
    assert signs["clean"] == {0}
    assert signs["patch"] == {0, FOREIGN}
    assert signs["trigger"] == {0, TRIGGER}
    assert signs["both"] == {0, TRIGGER, TRIGGER + FOREIGN}
    assert TRAIT in {sign & TRAIT for sign in signs["trait"]}


def test_what_was_voted_before_is_taken() -> None:
    features = patch()
    votes = content_votes(features[0], features[2], 20)
    odd = votes._replace(margin=votes.margin.flip(0))
    assert not torch.equal(check_labels(*features, votes).score, check_labels(*features, odd).score)


def test_the_recipe_has_the_rules_numbers() -> None:
    rule, recipe = (inspect.signature(one).parameters for one in (check_labels, LabelCheck))
    numbers = {name: p.default for name, p in rule.items() if p.default not in (p.empty, None)}
    assert numbers == {name: recipe[name].default for name in numbers}
    assert numbers == {
        "k": 20, "separate": 3.8, "excess": 2.5, "trait": 1.4, "smallest": 10, "fewest": 100, "lenient": 0.6,
        "elsewhere": 0.8, "certain": 0.8, "voters": 50_000,
    }  # fmt: skip


def test_copies_get_what_the_image_gets() -> None:
    found = check_labels(*patch())
    rows = torch.tensor([3, 0, 3, 1100])
    copies = found.of_images(rows)
    for field in ("score", "flagged", "prediction", "confidence", "relabel"):
        assert torch.equal(getattr(copies, field), getattr(found, field)[rows])
    for field in ("sign", "separation", "limit", "ratio", "gap"):
        assert getattr(copies, field) is getattr(found, field)


# --- the parts ---
def test_limits_fall_with_the_size_and_rise_with_the_others() -> None:
    separation = torch.tensor([1.0, 2.0, 3.0, 4.0, 9.0, 0.0, 8.0])
    size = torch.tensor([100, 225, 400, 900, 100, 0, 1])
    limit = separation_limits(separation, size, [0, 1, 2, 3, 4], separate=2.0)
    # against the others': 80 % of four is the lower of the third and the fourth
    wanted = [max(2.9, 1.3 * 4), max(2.6, 1.3 * 4), max(2.45, 1.3 * 4), max(2.3, 1.3 * 3), max(2.9, 1.3 * 3), 11, 11]
    assert limit.tolist() == pytest.approx(wanted)
    assert separation_limits(separation, size, [3]).tolist()[3] == pytest.approx(3.8 + 9 / 30)


@pytest.mark.parametrize(
    ("size", "surely", "foreign", "whole"),
    [(66, 16, 32, True), (65, 16, 32, False), (66, 16, 33, False), (66, 0, 0, False), (66, 5, 32, False)],
)
def test_most_of_a_class_with_its_poison_is_no_group(size: int, surely: int, foreign: int, whole: bool) -> None:
    row = torch.arange(130)
    margin = torch.where(row < foreign, 0.5, 0.0)
    assert _is_the_class(row < size, row < surely, margin, 2.5) == whole
    assert not _is_the_class(row < size, row < surely, margin, 40.0)


def test_a_class_is_not_taken_for_the_poison_in_it() -> None:
    found = check_labels(*most())
    label = most()[2]
    assert found.separation[3] > found.limit[3]
    assert not int(found.sign[3]) & TRIGGER
    clean = (label == 3) & (torch.arange(1500) >= 60)
    assert found.flagged[clean].float().mean() < 0.05


@pytest.mark.parametrize(
    ("inside", "outside", "turned"), [(0, 40, True), (20, 40, True), (40, 3, False), (4, 4, False)]
)
def test_the_foreign_ones_are_the_group(inside: int, outside: int, turned: bool) -> None:
    posterior = torch.tensor([0.9] * 50 + [0.1] * 100 + [0.5] * 50)
    surely = torch.zeros(200).bool()
    surely[:inside] = True
    surely[50 : 50 + outside] = True
    turned = turned and outside / 150 > inside / 50
    side = _foreign_side(posterior, surely, 2.5)
    assert torch.allclose(side, 1 - posterior if turned else posterior)


def test_how_many_outside_a_cluster_are_foreign_enough() -> None:
    posterior, surely = torch.tensor([0.9] * 100 + [0.1] * 900), torch.zeros(1000).bool()
    surely[100:138] = True  # of 900, 9 are expected: 22.5 and three times its root are 36.7
    assert not torch.equal(_foreign_side(posterior, surely, 2.5), posterior)
    surely[136:] = False
    assert torch.equal(_foreign_side(posterior, surely, 2.5), posterior)
    assert not torch.equal(_foreign_side(posterior, surely, 2.0), posterior)


@pytest.mark.parametrize("with_margin", [True, False])
@pytest.mark.parametrize(("sure", "foreign"), [(30, 50), (3, 50), (4, 50), (0, 4), (0, 3), (116, 118), (117, 117)])
def test_foreign_cluster_is_em_without_an_images_own_part(sure: int, foreign: int, with_margin: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    inside = torch.randn(120, 5, generator=generator).double()
    inside[:40, 0] += 3
    margin = -0.5 - 0.4 * torch.rand(120, generator=generator).double()
    margin[:foreign] = 0.2
    margin[:sure] = 0.8
    score = torch.randn(120, generator=generator).double()
    score[:40] += 2
    starts = [margin > 0.5, margin > 0]
    start = next((s for s in starts if 4 <= int(s.sum()) <= 116), None)
    found = foreign_cluster(inside, margin, score, with_margin)
    if start is None:
        assert torch.equal(found, torch.zeros(120).double())
        return
    x = np.column_stack([inside, score]) if with_margin else inside.numpy()
    weight = start.double().numpy()
    for _ in range(15):
        upper, lower = max(weight.sum(), 1e-3), max(120 - weight.sum(), 1e-3)
        whole = (weight[:, None] * x).sum(0) / upper - ((1 - weight)[:, None] * x).sum(0) / lower
        value = np.zeros(120)
        for i in range(120):
            others = np.arange(120) != i
            up = (weight[others, None] * x[others]).sum(0) / upper
            down = ((1 - weight[others])[:, None] * x[others]).sum(0) / lower
            value[i] = x[i] @ (up - down) / np.linalg.norm(whole)
        weight = mixture(torch.from_numpy(value)[:, None], torch.from_numpy(weight)[:, None])[:, 0].numpy()
    assert np.allclose(found.numpy(), weight, atol=1e-6)
    default = foreign_cluster(inside, margin, score)
    assert torch.equal(default, found) == with_margin


def em_of_two(score: Array, weight: Array) -> Array:
    """Eight rounds of two Gaussians, in one dimension."""
    for _ in range(8):
        up, low = max(weight.sum(), 1e-3), max((1 - weight).sum(), 1e-3)
        mean1, mean0 = (weight * score).sum() / up, ((1 - weight) * score).sum() / low
        var1, var0 = (weight * (score - mean1) ** 2).sum() / up, ((1 - weight) * (score - mean0) ** 2).sum() / low
        var1 = max(var1, 0.05 * var0, 1e-9)
        var0 = max(var0, 0.05 * var1, 1e-9)
        density1 = up / np.sqrt(var1) * np.exp(-((score - mean1) ** 2) / (2 * var1))
        density0 = low / np.sqrt(var0) * np.exp(-((score - mean0) ** 2) / (2 * var0))
        weight = density1 / (density1 + density0)
        weight = np.where(score <= mean0, 0.0, np.where(score >= mean1, 1.0, weight))
    return weight


@pytest.mark.parametrize(("apart", "wide"), [(5.0, 1.0), (2.0, 1.0), (3.0, 0.05), (3.0, 4.0), (0.3, 1.0)])
def test_mixture_is_em_for_two_gaussians(apart: float, wide: float) -> None:
    generator = torch.Generator().manual_seed(2)
    score = torch.randn(80, 3, generator=generator).double()
    score[:25] = apart + wide * score[:25]
    start = (score > score.median(0).values).double()
    found = mixture(score, start)
    for column in range(3):
        wanted = em_of_two(score[:, column].numpy(), start[:, column].numpy())
        assert np.allclose(found[:, column].numpy(), wanted, atol=1e-7)


def test_likeness_is_a_share_of_the_usual_distance_within_a_class() -> None:
    content, _, true = double(60)
    label = torch.where(true == 2, 9, true)  # classes without images do not count
    label[0] = 2  # nor does it matter that one has a single one: its distance is 0
    cosine = []
    for c in label.unique().tolist():
        unit = torch.nn.functional.normalize(content[label == c])
        cosine.append(float((unit @ unit.T).mean()))
    middle = sorted(cosine)[(len(cosine) - 1) // 2]
    for twin in (0.4, 0.1):
        assert likeness_of_twins(content, label, twin) == pytest.approx(1 - twin * (1 - middle))
    many = content.repeat(100, 1)
    assert likeness_of_twins(many, label.repeat(100)) == pytest.approx(likeness_of_twins(content, label))


def test_means_are_those_of_typical_images_and_nothing_where_there_is_none() -> None:
    generator = torch.Generator().manual_seed(3)
    white, label = torch.randn(9000, 4, generator=generator).double(), torch.arange(9000) % 3
    typical = (torch.rand(9000, generator=generator) < 0.5) & (label != 1)
    means = class_means(white, label, typical, 5)
    for c in (0, 2):
        assert torch.allclose(means[c], white[typical & (label == c)].mean(0))
    assert not means[[1, 3, 4]].any()


@pytest.mark.parametrize("most", [32, 3, 1, 0])
@pytest.mark.parametrize("order", [list(range(12)), list(range(12))[::-1]])
def test_a_trait_is_looked_for_outside_what_the_classes_explain(most: int, order: list[int]) -> None:
    """Whatever numbers the classes have: those that nobody looks like explain nothing."""
    generator = torch.Generator().manual_seed(4)
    inside = torch.randn(200, 12, generator=generator).double()
    mean = torch.randn(12, 12, generator=generator).double()
    for rows, c in ((slice(25), 3), (slice(10, 30), 5), (slice(15), 2), (slice(50, 90), 0)):
        inside[rows] += 4 * (mean[c] - mean[8])  # what is not taken out decides the groups
    looks_like = torch.tensor([3] * 14 + [5] * 9 + [2] * 7 + [4] * 170)
    margin = torch.tensor([0.7] * 23 + [0.1] * 7 + [0.0] * 70 + [-0.3] * 100).double()
    score = torch.randn(200, generator=generator).double()
    seen = [3, 5, 2][:most]
    means = mean[[8, *seen]].numpy()
    means = means - means.mean(0)
    without = inside - inside @ torch.from_numpy(means.T @ np.linalg.pinv(means.T))
    wanted = foreign_cluster(without, margin, score, with_margin=False) > 0.5
    place = torch.tensor(order)
    renumbered = torch.empty_like(mean)
    renumbered[place] = mean
    gap, group = shared_trait(inside, margin, score, place[looks_like], renumbered, order[8], most)
    assert torch.equal(group, wanted)
    assert 3 <= int(group.sum()) <= 197
    assert gap == pytest.approx(float(score[wanted].mean() - score[~wanted].mean()))


def test_no_trait_of_nobody() -> None:
    inside, margin = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), -torch.ones(30)
    gap, group = shared_trait(inside, margin, margin, torch.zeros(30).long(), torch.eye(3, 4), 0)
    assert (gap, group.dtype, int(group.sum()), len(group)) == (0.0, torch.bool, 0, 30)


def test_bad_input_of_the_parts() -> None:
    margin, label = torch.zeros(4), torch.tensor([0, 0, 1, 1])
    for quantile in (0.0, 1.0, -0.1, 1.5):
        with pytest.raises(ValueError, match="quantile is between 0 and 1"):
            foreign_excess(margin, label, quantile)
    with pytest.raises(ValueError, match="one class alone"):
        foreign_excess(margin, torch.tensor([2, 2, 2, 2]))
    for wrong in (margin[:3], torch.zeros(4, 1)):
        with pytest.raises(ValueError, match="both"):
            foreign_excess(wrong, label)
    foreign_excess(margin, torch.tensor([0, 3, 3, 3]))
    for twin in (0.0, 1.0, 2.0):
        with pytest.raises(ValueError, match="twin is a share"):
            likeness_of_twins(torch.eye(4), label, twin)
    for content, of in ((torch.eye(4), label[:3]), (torch.zeros(4), label)):
        with pytest.raises(ValueError, match="content is"):
            likeness_of_twins(content, of)
    for inside, score in ((torch.eye(4), margin[:3]), (torch.zeros(4), margin)):
        with pytest.raises(ValueError, match=r"inside is \(n, p\), margin and score are \(n,\), not \(4"):
            foreign_cluster(inside, margin, score)
    with pytest.raises(ValueError, match="white is"):
        trigger_clusters(torch.eye(4), label[:3], [0], margin, torch.eye(4))
    with pytest.raises(ValueError, match="white is"):
        trigger_clusters(torch.zeros(4), label, [0], margin, torch.eye(4))


def test_links_of_likeness_are_strict_and_go_both_ways() -> None:
    chain = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.28, 0.96]])
    assert count_scenes(chain, alike=0.79) == 1  # the first and the last are linked by the one between
    assert count_scenes(chain, alike=0.81) == 3
    assert count_scenes(torch.eye(3), alike=0.0) == 3
    assert count_scenes(torch.eye(9).repeat(2, 1), alike=0.5, most=9) == 9
    assert count_scenes(torch.eye(9), alike=0.5, most=8) == 5


# --- clusters ---
def split_by_hand(inside: Array, start: Array, iterations: int) -> tuple[Array, Array, Array]:
    """Weights, direction, and the scores of the last round: each image without its own part in the direction."""
    n, weight = len(inside), start
    for _ in range(iterations):
        upper, lower = max(weight.sum(), 1e-3), max(n - weight.sum(), 1e-3)
        share = weight / upper - (1 - weight) / lower
        direction = share @ inside
        length = np.linalg.norm(direction)
        score = np.array([inside[i] @ (direction - share[i] * inside[i]) / length for i in range(n)])
        weight = em_of_two(score, weight)
    return weight, direction / length, score


@pytest.mark.parametrize("iterations", [1, 4])
def test_splits_are_em_from_every_start(iterations: int) -> None:
    generator = torch.Generator().manual_seed(7)
    inside = torch.randn(90, 8, generator=generator).double() + 0.5
    inside[:25, 2] += 6
    margin = torch.randn(90, generator=generator)
    starts = _starts(inside - inside.mean(0), margin)
    found = _splits(inside, margin, 10, iterations)
    assert found.weight.shape == starts.shape
    for column in range(starts.shape[1]):
        weight, direction, score = split_by_hand(inside.numpy(), starts[:, column].numpy(), iterations)
        assert np.allclose(found.weight[:, column], weight, atol=1e-6)
        assert np.allclose(found.direction[:, column], direction, atol=1e-7)
        hit = weight > 0.5
        if min(hit.sum(), (~hit).sum()) < 3:
            assert found.apart[column] == 0
            assert found.middle[column].isnan()
            continue
        spread = np.sqrt(score[hit].var(ddof=1) + score[~hit].var(ddof=1))
        assert float(found.apart[column]) == pytest.approx((score[hit].mean() - score[~hit].mean()) / spread, rel=1e-5)
        along = inside.numpy() @ direction
        wide1, wide0 = along[hit].std(ddof=1), along[~hit].std(ddof=1)
        place = float(found.middle[column])
        assert (along[hit].mean() - place) / wide1 == pytest.approx((place - along[~hit].mean()) / wide0, rel=1e-4)


def test_groups_of_three_are_the_smallest() -> None:
    score = torch.tensor([0.0, 1.0, 2.0, 8.0, 9.0, 10.0]).double()
    three, two = score > 7, score > 8
    assert float(_separation(score, three)) == pytest.approx(8 / 2**0.5)
    assert float(_middle(score, three)) == pytest.approx(5.0)
    for hit in (two, ~two):
        assert float(_separation(score, hit)) == 0
        assert _middle(score, hit).isnan()


def test_a_class_too_small_has_no_split() -> None:
    generator = torch.Generator().manual_seed(8)
    inside, margin = torch.randn(19, 4, generator=generator), torch.zeros(19)
    nothing = _splits(inside, margin, 10, 3)
    assert (nothing.weight.shape, nothing.direction.shape, len(nothing.apart), len(nothing.middle)) == (
        (19, 0), (4, 0), 0, 0,
    )  # fmt: skip
    assert _splits(torch.cat([inside, inside[:1]]), torch.zeros(20), 10, 3).weight.shape[1] > 0


def best(**changed: Any) -> Cluster:
    """Of four splits of a class of 100 beside 1,000 others."""
    weight = torch.zeros(100, 4)
    weight[:20, 0], weight[:30, 1], weight[:70, 2], weight[:5, 3] = 1, 0.9, 0.8, 1
    direction = torch.eye(4)
    given = {
        "splits": _Splits(weight, direction, torch.tensor([5.0, 4.0, 3.0, 6.0]), torch.zeros(4)),
        "beyond": torch.tensor([0.001, 0.001, 0.999, 0.0]), "content": torch.eye(100), "others": 1000, "alike": 0.5,
        "smallest": 10, "exclusive": 50.0,
    } | changed  # fmt: skip
    return _best(**given)


def test_the_best_split_is_the_most_separate_exclusive_one_of_different_pictures() -> None:
    found = best()  # the fourth is too small
    assert (found.separation, found.scenes, int((found.posterior > 0.5).sum())) == (5.0, 20, 20)
    assert found.enrichment == pytest.approx(0.2 / 0.002)
    assert found.direction.tolist() == [1, 0, 0, 0]
    assert best(smallest=5).separation == 6.0
    assert best(smallest=6).separation == 5.0
    assert best(exclusive=110.0).separation == 4.0  # .3 / .002 = 150
    assert best(beyond=torch.tensor([torch.nan, 0.001, 0.999, 0.0])).separation == 4.0
    copies = torch.eye(100)
    copies[:15] = copies[0].clone()
    assert best(content=copies).separation == 4.0
    turned = best(beyond=torch.tensor([torch.nan, torch.nan, 0.999, torch.nan]))
    assert (turned.separation, turned.scenes) == (3.0, 30)  # the others lie with what the start took for the cluster
    assert turned.direction.tolist() == [0, 0, -1, 0]
    assert torch.allclose(turned.posterior[[0, 99]], torch.tensor([0.2, 1.0]))
    assert turned.enrichment == pytest.approx(0.3 / 0.002, rel=1e-3)
    left = torch.zeros(100, 4)
    left[:90, 0], left[:91, 1] = 1, 1
    few = {"splits": _Splits(left, torch.eye(4), torch.tensor([4.0, 5.0, 3.0, 6.0]), torch.zeros(4))}
    assert best(**few, beyond=torch.zeros(4)).separation == 4.0  # of the second split, 9 images are left
    none = best(smallest=31)
    assert (none.separation, none.enrichment, none.scenes, none.posterior.any()) == (0.0, 0.0, 0, False)
    assert (len(none.posterior), len(none.direction)) == (100, 4)


def test_where_em_starts() -> None:
    generator = torch.Generator().manual_seed(9)
    inside = torch.randn(300, 10, generator=generator).double()
    inside[:, 0] *= 9
    inside[:, 1] *= 5
    inside[:, 2] *= 3
    inside[:12] = inside[0] + 0.01 * torch.randn(12, 10, generator=generator).double()  # a dense spot
    inside -= inside.mean(0)
    margin = torch.linspace(-1, 1, 300)
    starts = _starts(inside, margin)
    assert starts.unique().tolist() == [0, 1]
    assert starts.dtype == torch.float64
    axes = np.linalg.svd(inside.numpy())[2]
    sums = starts.sum(0).int().tolist()
    assert sums[:6] == [30] * 6
    assert sums[6:12] == [6] * 6
    for number, size in ((0, 30), (6, 6)):
        for axis in range(3):
            along = inside.numpy() @ axes[axis]
            wanted = [set(np.argsort(along)[-size:].tolist()), set(np.argsort(along)[:size].tolist())]
            columns = [starts[:, number + 2 * axis + side].nonzero().flatten().tolist() for side in (0, 1)]
            assert [set(c) for c in columns] in (wanted, wanted[::-1])
    assert torch.equal(starts[:, 12].bool(), margin > 0)
    assert torch.equal(starts[:, 13].bool(), margin > 0.6)
    assert sums[14:] == [11] * 8  # the densest image and its ten nearest
    assert starts[:12, 14].sum() == 11
    unit = inside / inside.norm(dim=1, keepdim=True)
    alike = (unit @ unit.T).fill_diagonal_(-2)
    taken: set[int] = set()
    for column in range(14, 22):  # by the mean over ten neighbors, of those that are in no group yet
        density = {i: float(alike[i].sort(descending=True).values[:10].mean()) for i in range(300) if i not in taken}
        densest = max(density, key=lambda i: density[i])
        group = {densest, *alike[densest].argsort(descending=True)[:10].tolist()}
        assert set(starts[:, column].nonzero().flatten().tolist()) == group
        taken |= group
    assert starts[:, 14:].sum(1).max() >= 1
    few = _starts(inside, torch.where(torch.arange(300) < 2, 1.0, -1.0))
    assert few.shape[1] == 20  # two foreign images are no start
    most = _starts(inside, torch.where(torch.arange(300) < 298, 1.0, -1.0))
    assert most.shape[1] == 20
    assert _starts(inside, torch.where(torch.arange(300) < 297, 1.0, -1.0)).shape[1] == 22
    assert torch.equal(_starts(inside, margin), starts)


def test_whitening_is_the_inverse_root_of_the_covariance_within_classes() -> None:
    generator = torch.Generator().manual_seed(10)
    features = torch.randn(500, 6, generator=generator).double() @ torch.randn(6, 6, generator=generator).double()
    label = torch.tensor([0, 0, 2, 5, 5])[torch.arange(500) % 5]
    features += 3 * label[:, None]
    for ridge in (0.02, 0.5):
        inside = features.numpy().copy()
        for c in (0, 2, 5):
            inside[label == c] -= inside[label == c].mean(0)
        spread = np.sqrt((inside**2).mean(0))
        values, vectors = np.linalg.eigh((inside / spread).T @ (inside / spread) / 500 + ridge * np.eye(6))
        centered = (features.numpy() - features.numpy().mean(0)) / spread
        wanted = centered @ vectors / np.sqrt(values) @ vectors.T
        white = whiten_within(features, label, ridge).numpy()
        assert np.allclose(white @ white.T, wanted @ wanted.T)  # a rotation is free
