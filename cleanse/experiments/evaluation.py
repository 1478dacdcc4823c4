"""After the recipe: SA, ASR, RA and TMR from predict tables, detection figures from the verdict; reads the truth."""

from collections.abc import Sequence

from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.attacks import Attack
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
from cleanse.metrics.share import share
from cleanse.verdict import Verdict

Figures = dict[str, float | None]
"""Fractions between 0 and 1 by their lower-case name; None where one does not apply."""
CLASSIFIER = ("sa", "asr", "ra", "tmr")
"""The figures of a classifier, which a comparison has too."""
DETECTION = ("tpr", "fpr", "auroc", "cover_flagged", "relabel_accuracy", "relabel_accuracy_all")
"""The figures of a verdict, where the truth is known."""


def evaluate_classifier(model: LightningModule, data: ImageDataModule, run: Runner) -> Figures:
    """SA on all test images; ASR, RA and TMR on the eligible ones, triggered.

    An attack with several triggers has a triggered copy of the test set for each; see `of_all_triggers`. None for all
    of them where the data has no test part. Exact: every image is predicted once, whatever the number of processes.

    Args:
        model: a classifier that the runner fitted.
        data: with its attack.
        run: caches the predict tables.
    """
    clean = data.clean_test()
    if clean is None:
        return dict.fromkeys(("sa", "asr", "ra", "tmr"))
    plain = run.predict("test", model, clean).prediction
    figures: Figures = {"sa": _plain(standard_accuracy(plain, clean.label)), "asr": None, "ra": None, "tmr": None}
    if data.attack is None or not data.attack.testable:
        return figures
    each = []
    for part, triggered in zip(data.attack.parts, data.triggered_tests(), strict=True):
        fooled = run.predict("triggered", model, triggered).prediction
        before = plain[part.measured(clean.label)]
        each.append(attack_figures(before, fooled, triggered.label, part, clean.num_classes))
    return {**figures, **of_all_triggers(each)}


def of_all_triggers(each: Sequence[Figures]) -> Figures:
    """Figures of an attack from those of its triggers: their mean, ``asr_max``, and each as ``asr_1``, ``asr_2``, ...

    A trigger without a figure does not count in its mean; those of one trigger are the attack's.

    Args:
        each: of `attack_figures`, one for each trigger.

    >>> of_all_triggers([{"asr": 1.0, "tmr": 0.5}, {"asr": 0.5, "tmr": None}])
    {'asr': 0.75, 'tmr': 0.5, 'asr_max': 1.0, 'asr_1': 1.0, 'tmr_1': 0.5, 'asr_2': 0.5, 'tmr_2': None}
    """
    if len(each) == 1:
        return dict(each[0])
    known = {name: [row[name] for row in each if row[name] is not None] for name in each[0]}
    mean: Figures = {name: sum(map(float, v)) / len(v) if v else None for name, v in known.items()}  # type: ignore[arg-type]
    mean["asr_max"] = max(map(float, known["asr"])) if known["asr"] else None  # type: ignore[arg-type]
    return mean | {f"{name}_{number}": value for number, row in enumerate(each, 1) for name, value in row.items()}


def attack_figures(before: Tensor, fooled: Tensor, label: Tensor, attack: Attack, num_classes: int) -> Figures:
    """ASR, RA and TMR.

    All-to-all: as with one target, each image having its own, the class after its true one. Untargeted: of the images
    that are right without the trigger, ASR is the share that is wrong with it, and RA the rest; no TMR (D57).

    Args:
        before: (n,) int64, predictions for the measured test images without the trigger.
        fooled: (n,) int64, with it.
        label: (n,) int64, their true classes.
        attack: says what it wants.
        num_classes: C.

    >>> import torch
    >>> from cleanse.attacks import BadNets
    >>> label = torch.tensor([0, 1, 2, 2])
    >>> attack_figures(label, torch.tensor([1, 2, 0, 2]), label, BadNets(count=1, labels="next"), 3)
    {'asr': 0.75, 'ra': 0.25, 'tmr': 0.75}
    """
    aim = attack.aim(label, num_classes)
    if aim is None:
        right = before == label
        wrong = share(fooled != label, right)
        return {"asr": _plain(wrong), "ra": _plain(1 - wrong), "tmr": None}
    return {
        "asr": _plain(attack_success_rate(fooled, label, aim, attack.source)),
        "ra": _plain(robust_accuracy(fooled, label, aim, attack.source)),
        "tmr": _plain(targeted_misclassification_rate(before, fooled, label, aim, attack.source)),
    }


def evaluate_verdict(verdict: Verdict, truth: Truth) -> Figures:
    """The figures of a verdict against the truth, by the names in `DETECTION`.

    An image that is dropped or relabeled counts as flagged. Cover images are counted apart, and images without a label
    not at all: there is nothing about them that could be kept. ``relabel_accuracy`` is of the relabeled poison,
    ``relabel_accuracy_all`` of every relabeled image (D10). With several triggers, ``tpr_1``, ``tpr_2``, ... are of the
    poison with each.
    """
    given = verdict.label >= 0
    flagged = verdict.dropped | verdict.relabeled
    rates = detection_rates(flagged[given], verdict.score[given], truth.role[given])
    right = {
        "relabel_accuracy": relabel_accuracy(verdict.new_label, truth.true_label, verdict.relabeled & truth.poisoned),
        "relabel_accuracy_all": relabel_accuracy(verdict.new_label, truth.true_label, verdict.relabeled),
    }
    count = int(truth.carried.max()) + 1
    by_trigger = {
        f"tpr_{number + 1}": share(flagged[given], (truth.poisoned & (truth.carried == number))[given])
        for number in (range(count) if count > 1 else ())
    }
    return {name: _plain(value) for name, value in {**rates, **right, **by_trigger}.items()}


def clean_purity(taken: Tensor, truth: Truth) -> float | None:
    """The part of some training images that are not poisoned; None of none.

    Args:
        taken: (n,) bool, the images that a recipe took for clean.
        truth: of all n.
    """
    return _plain(share(~truth.poisoned, taken))


def _plain(value: object) -> float | None:
    """A float, or None for NaN (JSON has none)."""
    number = float(value)  # type: ignore[arg-type]
    return None if number != number else number
