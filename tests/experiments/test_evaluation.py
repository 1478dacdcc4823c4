"""Figures of a verdict against the truth, and of a classifier."""

from typing import Any

import pytest
import torch

from cleanse.attacks import CLEAN, COVER, POISON, BadNets
from cleanse.data import Digits
from cleanse.data.base import Truth
from cleanse.engine.runner import Table
from cleanse.experiments.evaluation import attack_figures, evaluate_classifier, evaluate_verdict
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


def test_images_without_a_label_are_not_counted() -> None:
    """Of three labeled poisoned images two are flagged, of two clean ones none; the unlabeled rows change nothing."""
    given = torch.tensor([0, 0, 0, 1, 2, 0, -1, -1, -1])
    new = torch.tensor([1, -1, 0, 1, 2, -1, 1, -1, 2])
    role = torch.tensor([POISON, POISON, POISON, CLEAN, CLEAN, COVER, POISON, CLEAN, CLEAN])
    true = torch.tensor([1, 1, 1, 1, 2, 0, 1, 2, 2])
    verdict = Verdict.from_labels("abcdefghi", given, new, new < 0, torch.arange(9).flip(0).float())
    figures = evaluate_verdict(verdict, Truth(true, role))
    labeled = evaluate_verdict(
        Verdict.from_labels("abcdef", given[:6], new[:6], new[:6] < 0, torch.arange(9).flip(0)[:6].float()),
        Truth(true[:6], role[:6]),
    )
    assert figures["tpr"] == 2 / 3
    assert figures["fpr"] == 0
    assert figures["auroc"] == 1
    assert {k: figures[k] for k in ("tpr", "fpr", "auroc")} == {k: labeled[k] for k in ("tpr", "fpr", "auroc")}
    assert figures["relabel_accuracy"] == 1.0  # of all relabeled poison, labeled or not


def test_relabel_accuracy_is_of_the_poison_and_of_all_that_is_relabeled() -> None:
    """Two poisoned images are relabeled, one to its true class; so is a clean one, which was right before."""
    given, new = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 0, 2])
    truth = Truth(torch.tensor([1, 1, 1, 2]), torch.tensor([POISON, POISON, CLEAN, CLEAN]))
    figures = evaluate_verdict(Verdict.from_labels("abcd", given, new), truth)
    assert figures["relabel_accuracy"] == 1 / 2
    assert figures["relabel_accuracy_all"] == 1 / 3


class Scripted:
    """A runner whose tables are those predictions: right without the trigger, the target with it in the first rows."""

    def __init__(self, fooled: int) -> None:
        self.fooled = fooled
        self.asked: list[str] = []

    def predict(self, name: str, model: object, data: TrainingView) -> Table:
        self.asked.append(name)
        prediction = data.label.clone()
        if name == "triggered":
            prediction[: self.fooled] = 3
        else:
            prediction[data.label == 0] = 1
        return Table({"prediction": prediction})


def test_a_classifier_has_four_figures() -> None:
    data = Digits(attack=BadNets(target=3, class_rate=0.1), limit_train=100, limit_test=60, seed=0)
    run: Any = Scripted(10)
    figures = evaluate_classifier(Classifier(SmallCNN, data.training_view().image_spec), data, run)
    label = data.clean_test().label  # type: ignore[union-attr]
    eligible = label[label != 3]
    right = eligible[:10] != 0  # class 0 is wrong without the trigger already
    assert run.asked == ["test", "triggered"]
    assert figures == {
        "sa": pytest.approx(float((label != 0).float().mean())),
        "asr": pytest.approx(10 / len(eligible)),
        "ra": pytest.approx(1 - 10 / len(eligible)),
        "tmr": pytest.approx(int(right.sum()) / len(eligible)),
    }


def test_without_an_attack_or_a_test_part_figures_are_none() -> None:
    clean = Digits(limit_train=100, limit_test=60, seed=0)
    model, run = Classifier(SmallCNN, clean.training_view().image_spec), Scripted(0)
    figures = evaluate_classifier(model, clean, run)  # type: ignore[arg-type]
    assert run.asked == ["test"]
    assert 0.8 < (figures["sa"] or 0) < 1
    assert {k: v for k, v in figures.items() if k != "sa"} == {"asr": None, "ra": None, "tmr": None}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [("target", {"asr": 0.25, "ra": 0.5, "tmr": 0.25}), ("next", {"asr": 0.25, "ra": 0.5, "tmr": 0.25})],
)
def test_each_image_is_to_become_what_the_attack_aims_at(labels: Any, expected: dict[str, float]) -> None:
    """Of four images one becomes the target, one another class; all were right before."""
    attack = BadNets(count=1, target=3, labels=labels)
    label = torch.tensor([0, 1, 2, 2])
    fooled = torch.tensor([3 if labels == "target" else 1, 1, 2, 0])
    assert attack_figures(label, fooled, label, attack, 5) == expected
