"""Figures of a verdict against the truth."""

import torch

from cleanse.attacks import CLEAN, COVER, POISON
from cleanse.data.base import Truth
from cleanse.experiments.evaluation import evaluate_verdict
from cleanse.verdict import Verdict


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
