"""After the recipe: SA, ASR, RA and TMR from predict tables, detection figures from the verdict; reads the truth."""

from lightning.pytorch import LightningModule

from cleanse.data.base import ImageDataModule, Truth
from cleanse.engine.runner import Runner
from cleanse.metrics import (
    attack_success_rate,
    detection_rates,
    relabel_accuracy,
    robust_accuracy,
    standard_accuracy,
    targeted_misclassification_rate,
)
from cleanse.verdict import Verdict

Figures = dict[str, float | None]
"""Fractions between 0 and 1 by their lower-case name; None where one does not apply."""
CLASSIFIER = ("sa", "asr", "ra", "tmr")
"""The figures of a classifier, which a comparison has too."""
DETECTION = ("tpr", "fpr", "auroc", "cover_flagged", "relabel_accuracy", "relabel_accuracy_all")
"""The figures of a verdict, where the truth is known."""


def evaluate_classifier(model: LightningModule, data: ImageDataModule, run: Runner) -> Figures:
    """SA on all test images; ASR, RA and TMR on the eligible ones, triggered.

    None for all of them where the data has no test part. Exact: every image is predicted once, whatever the number of
    processes.

    Args:
        model: a classifier that the runner fitted.
        data: with its attack.
        run: caches the two predict tables.
    """
    clean = data.clean_test()
    if clean is None:
        return dict.fromkeys(("sa", "asr", "ra", "tmr"))
    plain = run.predict("test", model, clean).prediction
    figures: Figures = {"sa": _plain(standard_accuracy(plain, clean.label)), "asr": None, "ra": None, "tmr": None}
    triggered = data.triggered_test()
    if triggered is None or data.attack is None:
        return figures
    target, source = data.attack.target, data.attack.source
    fooled = run.predict("triggered", model, triggered).prediction
    before = plain[data.attack.measured(clean.label)]
    figures["asr"] = _plain(attack_success_rate(fooled, triggered.label, target, source))
    figures["ra"] = _plain(robust_accuracy(fooled, triggered.label, target, source))
    figures["tmr"] = _plain(targeted_misclassification_rate(before, fooled, triggered.label, target, source))
    return figures


def evaluate_verdict(verdict: Verdict, truth: Truth) -> Figures:
    """The figures of a verdict against the truth, by the names in `DETECTION`.

    An image that is dropped or relabeled counts as flagged. Cover images are counted apart, and images without a label
    not at all: there is nothing about them that could be kept. ``relabel_accuracy`` is of the relabeled poison,
    ``relabel_accuracy_all`` of every relabeled image (D10).
    """
    given = verdict.label >= 0
    flagged = verdict.dropped | verdict.relabeled
    rates = detection_rates(flagged[given], verdict.score[given], truth.role[given])
    right = {
        "relabel_accuracy": relabel_accuracy(verdict.new_label, truth.true_label, verdict.relabeled & truth.poisoned),
        "relabel_accuracy_all": relabel_accuracy(verdict.new_label, truth.true_label, verdict.relabeled),
    }
    return {name: _plain(value) for name, value in {**rates, **right}.items()}


def _plain(value: object) -> float | None:
    """A float, or None for NaN (JSON has none)."""
    number = float(value)  # type: ignore[arg-type]
    return None if number != number else number
