"""The check on frozen features: what reaches the rule, what becomes of its findings, and that it stops a backdoor."""

import logging
from functools import partial
from typing import Any

import pytest
import torch
from shapes import Shapes

from cleanse.attacks import BadNets
from cleanse.defenses import LabelCheck
from cleanse.defenses.label_check import error_rate, evidence
from cleanse.encoders import EfficientNetLite
from cleanse.engine.runner import Runner
from cleanse.experiments.evaluation import evaluate_classifier, evaluate_verdict
from cleanse.functional import Checked
from cleanse.functional.content_votes import Votes
from cleanse.functional.expected_flags import ExpectedFlags
from cleanse.networks import SmallResNet
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


def checked(n: int, flagged: list[int], group: list[int], prediction: dict[int, int], label: torch.Tensor) -> Checked:
    """Findings about n images: some flagged, some of them in a named class's group, some surely of another class."""
    score = torch.full((n,), -1.0)
    score[flagged] = 0.9
    score[group] = 1.9
    looks = label.clone()
    for row, other in prediction.items():
        looks[row] = other
    mask = torch.zeros(n, dtype=torch.bool)
    mask[flagged + group] = True
    relabel = mask & (score > 1) & (looks != label)
    zero = torch.zeros(10)
    return Checked(zero.long(), zero, zero, zero, zero, score, mask, looks, torch.ones(n), relabel)


def test_an_image_of_a_named_group_is_relabeled_or_dropped_and_another_flagged_one_is_dropped(
    view: TrainingView,
) -> None:
    label = view.label
    other = int((label[1] + 1) % 10)
    verdict = LabelCheck().verdict(view, view.labeled, checked(200, [0], [1, 2], {0: 3, 1: other}, label))
    assert verdict.dropped.nonzero().flatten().tolist() == [0, 2]
    assert verdict.relabeled.nonzero().flatten().tolist() == [1]
    assert int(verdict.new_label[1]) == other


def test_where_most_is_flagged_nothing_is_relabeled(view: TrainingView) -> None:
    others = {i: int((view.label[i] + 1) % 10) for i in range(150)}
    verdict = LabelCheck().verdict(view, view.labeled, checked(200, [], list(range(150)), others, view.label))
    assert int(verdict.relabeled.sum()) == 0
    assert int(verdict.dropped.sum()) == 150


def test_images_without_a_label_are_dropped(view: TrainingView) -> None:
    some = view.with_labels(torch.where(torch.arange(200) < 20, -1, view.label))
    given = some.labeled
    verdict = LabelCheck().verdict(some, given, checked(180, [], [], {}, some.label[given]))
    assert verdict.dropped.nonzero().flatten().tolist() == list(range(20))


UNUSUAL: dict[str, Any] = {
    "k": 7, "separate": 5.5, "excess": 3.5, "trait": 0.9, "smallest": 6, "fewest": 40, "lenient": 0.35,
    "elsewhere": 0.45, "certain": 0.55, "voters": 150,
}  # fmt: skip


def test_every_argument_reaches_the_rule(view: TrainingView, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def record(content: torch.Tensor, early: torch.Tensor, label: torch.Tensor, votes: Any, **rest: Any) -> Checked:
        seen.update(
            rest, voted=len(votes.near.unique()), content=tuple(content.shape), early=tuple(early.shape), label=label
        )
        return checked(200, [], [], {}, label)

    monkeypatch.setattr("cleanse.defenses.label_check.check_labels", record)
    outcome = LabelCheck(encoder=EfficientNetLite(size=32), **UNUSUAL).cleanse(view, runner)
    assert {name: seen[name] for name in UNUSUAL} == UNUSUAL
    assert (seen["content"], seen["early"]) == ((200, 1280), (200, 384))  # few images: 4x4 cells
    assert seen["label"].equal(view.label)
    assert 120 < seen["voted"] <= 200 * 0.75 + 10 * 20 * 0.25
    assert outcome.notes[-2] == "About 150 of 200 images, drawn in each class, have a vote."
    assert outcome.notes[0] == "No class looks attacked to this check."
    assert outcome.verdict.counts() == {"kept": 200, "relabeled": 0, "dropped": 0}


@pytest.mark.parametrize(
    ("sign", "words"),
    [(0, "25.0% are flagged, as no class is named"), (2, "12.5% are flagged, up to 62% of those in a named class")],
)
def test_the_error_rate_is_that_of_the_rule_that_applied(
    sign: int, words: str, view: TrainingView, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(content: torch.Tensor, early: torch.Tensor, label: torch.Tensor, votes: Any, **rest: Any) -> Checked:
        plain = checked(200, [], [], {}, label)
        return plain._replace(sign=torch.where(torch.arange(len(plain.sign)) == 3, sign, 0))

    monkeypatch.setattr("cleanse.defenses.label_check.check_labels", found)
    monkeypatch.setattr("cleanse.defenses.label_check.expected_flags", lambda *_: ExpectedFlags(0.25, 0.125, 0.62))
    outcome = LabelCheck(encoder=EfficientNetLite(size=32)).cleanse(view, runner)
    assert f"Of the clean images, about {words} (an estimate" in outcome.notes[-1]


def test_copies_reach_the_rule_once_and_share_its_finding(
    view: TrainingView, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    some = view.subset(torch.arange(200) < 60)  # the last ten are copies of the first ten
    label = torch.cat([some.label[:50], some.label[:10]])
    label[50] = (label[0] + 1) % 10
    group = torch.cat([torch.arange(50), torch.arange(10)])
    monkeypatch.setattr(type(view), "duplicate_group", property(lambda self: group))

    def record(content: torch.Tensor, early: torch.Tensor, label: torch.Tensor, votes: Any, **rest: Any) -> Checked:
        seen.append(label)
        return checked(len(label), [3, 50], [], {}, label)

    monkeypatch.setattr("cleanse.defenses.label_check.check_labels", record)
    verdict = LabelCheck(encoder=EfficientNetLite(size=32)).cleanse(some.with_labels(label), runner).verdict
    assert len(seen[0]) == 51  # fifty pictures, one of them under two labels
    assert verdict.dropped.nonzero().flatten().tolist() == [3, 50, 53]


def test_few_images_are_looked_at_on_a_coarser_grid() -> None:
    early = torch.arange(2 * 3 * 64).float().view(2, 192)
    coarse = EfficientNetLite.for_images(early)
    assert coarse.shape == (2, 48)
    assert float(coarse[0, 0]) == float(early[0, [0, 1, 8, 9]].mean())
    many = torch.zeros(480, 192)
    assert EfficientNetLite.for_images(many) is many
    assert EfficientNetLite.for_images(many[:479]).shape == (479, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 0}, "k is a number of images, at least 1, not 0"),
        ({"smallest": 0}, "smallest is a number of images"),
        ({"lenient": 1.5}, "lenient is a share of the votes, between 0 and 1, not 1.5"),
        ({"certain": -1.0}, "certain is a share"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_argument_out_of_range_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelCheck(**arguments)


def test_one_class_alone_is_refused(view: TrainingView, runner: Runner) -> None:
    with pytest.raises(ValueError, match="at least two classes"):
        LabelCheck(encoder=EfficientNetLite(size=32)).cleanse(view.subset(view.label == 3), runner)


def test_one_picture_in_all_classes_is_said(view: TrainingView, runner: Runner) -> None:
    same = view.subset(torch.arange(200) < 1)
    same = type(view)(view.source, same.rows.repeat(6), torch.arange(6) % 2, (), 6, 0)
    with pytest.raises(ValueError, match="all images are the same picture"):
        LabelCheck(encoder=EfficientNetLite(size=32)).cleanse(same, runner)


def test_two_named_classes_are_not_said_as_calmly_as_one() -> None:
    zero = torch.zeros(3)
    none = (zero, zero.bool(), zero.long(), zero, zero.bool())
    found = Checked(torch.tensor([1, 0, 2]), zero + 5, zero + 4.4, zero + 6, zero, *none)
    sentences = evidence(found, ["cat", "dog", "fox"])
    assert sentences[0].startswith("Class 'cat' looks attacked: a group of its images shares something")
    assert "; the limit is 4.4)" in sentences[0]
    assert sentences[1].endswith("its images look like other classes 6 times as often as those of others.")
    assert sentences[2].startswith("2 classes at once")
    assert len(evidence(found._replace(sign=torch.tensor([0, 4, 0])), ["a", "b", "c"])) == 1
    (covers,) = evidence(found._replace(sign=torch.tensor([0, 8, 0])), ["a", "b", "c"])
    assert covers.startswith("Class 'b' looks attacked: a group of its images looks like other classes and shares")
    assert covers.endswith("as covers do (separation 5.0; the limit is 4.4).")


def test_classes_that_are_attacked_together_are_said_in_one_sentence() -> None:
    zero = torch.zeros(12)
    none = (zero, zero.bool(), zero.long(), zero, zero.bool())
    names = [f"c{i}" for i in range(12)]
    found = Checked(torch.full((12,), 16), zero + 12.84, zero + 3.4, zero + 6, zero, *none)
    (all_of_them,) = evidence(found, names)
    assert all_of_them.startswith("Images of 12 classes ('c0', 'c1', ")
    assert "'c9', ...) look attacked together" in all_of_them
    assert all_of_them.endswith("moves each class to another one (separation 12.8; the limit is 3.4).")
    # one of them has its own sign, too, and its own separation
    one = found._replace(sign=torch.tensor([17, 16] + [0] * 10), separation=torch.tensor([5.0, 12.84] + [0.0] * 10))
    together, alone = evidence(one, names)
    assert together.startswith("Images of 2 classes ('c0', 'c1') look attacked together")
    assert "(separation 12.8; " in together
    assert alone.startswith("Class 'c0' looks attacked: a group of its images")
    assert "(separation 5.0; " in alone


@pytest.mark.parametrize(
    ("named", "together", "said"),
    [
        (False, False, "about 3.0% are flagged, as no class is named (an"),
        (False, True, "about 3.0% are flagged (an"),
        (True, False, "about 4.0% are flagged, up to 50% of those in a named class (an"),
        (True, True, "about 4.0% are flagged, up to 50% of those in a named class (an"),
    ],
)
def test_how_many_clean_images_are_flagged_is_said_for_the_rule_that_counted(
    named: bool, together: bool, said: str
) -> None:
    assert said in error_rate(ExpectedFlags(0.03, 0.04, 0.5), named, together)


def test_where_classes_are_attacked_together_the_estimate_is_of_the_other_images(
    view: TrainingView, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all that look foreign those in the cluster are poison, and the limit is that of a set with a named class."""
    margin = torch.full((200,), -0.5)
    margin[:60], margin[60:80], margin[80:90] = 0.9, 0.7, 0.85

    def judge(content: torch.Tensor, early: torch.Tensor, label: torch.Tensor, *_: Any, **__: Any) -> Checked:
        found = checked(200, [], [], {}, label)
        return found._replace(sign=found.sign + 16, score=torch.where(torch.arange(200) < 60, 1.9, 0.0))

    monkeypatch.setattr("cleanse.defenses.label_check.check_labels", judge)
    votes = Votes(view.label, margin.abs(), margin, torch.zeros(200, 1).long())
    monkeypatch.setattr("cleanse.defenses.label_check.content_votes", lambda *_, **__: votes)
    mixed = view.with_labels(torch.arange(200) % 10)
    notes = LabelCheck(encoder=EfficientNetLite(size=32)).cleanse(mixed, runner).notes
    assert notes[0].startswith("Images of 10 classes")
    (said,) = [note for note in notes if note.startswith("Of the clean images")]
    assert "about 7.1% are flagged (an" in said  # 10 of 140, and 9 of 126 without the class with most


def test_what_is_expected_is_said_before_and_what_was_not_looked_for_after(
    view: TrainingView, runner: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels drawn at random, 20 images a class: an encoder that knows nothing of them is no all-clear."""
    said: list[str] = []

    def record(content: torch.Tensor, early: torch.Tensor, label: torch.Tensor, votes: Any, **rest: Any) -> Checked:
        said.extend(r.getMessage() for r in caplog.records if "of the clean images, about" in r.getMessage())
        return checked(200, [], [], {}, label)

    monkeypatch.setattr("cleanse.defenses.label_check.check_labels", record)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    random = view.with_labels(view.label[order])
    with caplog.at_level(logging.INFO, logger="cleanse"):
        outcome = LabelCheck(encoder=EfficientNetLite(size=32)).cleanse(random, runner)
    assert len(said) == 1
    assert "will be flagged if no class looks attacked" in said[0]
    attacked, unknown, groups, expected = outcome.notes
    assert attacked == "No class looks attacked to this check."
    assert unknown.startswith("Only ")
    assert "chance alone would make 10%" in unknown
    assert groups.startswith("In 10 of 10 classes no group was looked for: that takes 100 images in the class")
    assert expected.startswith("Of the clean images, about")


@pytest.mark.parametrize(("classes", "said"), [(39, False), (40, True)])
def test_among_many_classes_a_name_is_not_said_as_surely(classes: int, said: bool) -> None:
    zero = torch.zeros(classes)
    nobody = Checked(zero.long(), *[zero] * 5, zero.bool(), zero.long(), zero, zero.bool())
    names = [f"c{i}" for i in range(classes)]
    found = evidence(nobody._replace(sign=4 * (torch.arange(classes) == 7)), names)
    assert found[0].startswith("Class 'c7' looks attacked")
    assert (f"of {classes} classes, take a name as a class to look at" in found[-1]) is said
    assert len(found) == 1 + said
    assert evidence(nobody, names) == []


@pytest.mark.slow
def test_a_backdoor_that_works_without_the_check_does_not_work_with_it(
    runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Drawn shapes, BadNets on 5 % of all images: the class is named, the backdoor is gone, accuracy is kept."""
    attack = BadNets(pattern="checkerboard", size=5, target=2, poison_rate=0.05)
    data = Shapes(attack=attack, batch_size=32, seed=1)
    train = data.training_view()
    defense = LabelCheck(network=partial(SmallResNet, width=16), epochs=20, lr=0.02, milestones=(15,))
    with caplog.at_level(logging.INFO, "cleanse"):
        outcome = defense.cleanse(train, runner)
    found = evaluate_verdict(outcome.verdict, data.truth)
    before = defense.classify(train.with_verdict(Verdict.keep_all(train.id, train.label)), runner)
    none, after = evaluate_classifier(before, data, runner), evaluate_classifier(outcome.model, data, runner)
    assert outcome.notes[0].startswith("Class 'triangle' looks attacked")
    assert "of those in a named class (an estimate" in outcome.notes[-1]
    assert not any("cross-validated" in line for line in caplog.messages), "the summary says it"
    assert found["tpr"] is not None
    assert found["tpr"] > 0.98
    assert found["fpr"] is not None
    assert found["fpr"] < 0.05
    assert none["asr"] is not None
    assert none["asr"] > 0.9
    assert after["asr"] is not None
    assert after["asr"] < 0.1
    assert after["sa"] is not None
    assert none["sa"] is not None
    assert after["sa"] > none["sa"] - 0.05
