"""SA, ASR, RA, TMR and relabel accuracy against plain loops."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score

from cleanse.metrics import (
    attack_success_rate,
    relabel_accuracy,
    robust_accuracy,
    standard_accuracy,
    targeted_misclassification_rate,
)


def table(seed, n=400, classes=5):
    """Predictions without and with the trigger, true labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, classes, (3, n), generator=generator).unbind()


def loop(clean, triggered, true, target, source):
    """ASR, RA and TMR, image by image."""
    fooled = robust = turned = count = 0
    for before, after, label in zip(clean.tolist(), triggered.tolist(), true.tolist(), strict=True):
        if (label == target) if source is None else (label != source):
            continue
        count += 1
        fooled += after == target
        robust += after == label
        turned += before == label and after == target
    return fooled / count, robust / count, turned / count


@pytest.mark.parametrize("source", [None, 3])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_loop(seed, source):
    clean, triggered, true = table(seed)
    asr, ra, tmr = loop(clean, triggered, true, 1, source)
    assert attack_success_rate(triggered, true, 1, source).item() == pytest.approx(asr, abs=1e-12)
    assert robust_accuracy(triggered, true, 1, source).item() == pytest.approx(ra, abs=1e-12)
    assert targeted_misclassification_rate(clean, triggered, true, 1, source).item() == pytest.approx(tmr, abs=1e-12)


def test_standard_accuracy_against_sklearn():
    clean, _, true = table(0)
    assert standard_accuracy(clean, true).item() == pytest.approx(accuracy_score(true, clean), abs=1e-12)


def test_target_class_is_no_success():
    """A constant classifier has ASR 1, and one that is always right 0, whatever the share of the target."""
    true = torch.tensor([0, 0, 0, 1, 2])
    assert attack_success_rate(torch.zeros(5, dtype=torch.long), true, target=0).item() == 1
    assert attack_success_rate(true, true, target=0).item() == 0
    assert robust_accuracy(true, true, target=0).item() == 1


def test_only_the_source_counts():
    true, fooled = torch.tensor([1, 1, 2, 2]), torch.tensor([0, 1, 0, 0])
    assert attack_success_rate(fooled, true, target=0, source=1).item() == 0.5
    assert attack_success_rate(fooled, true, target=0).item() == 0.75


def test_relabel_accuracy():
    new, _, true = table(5)
    relabeled = torch.rand(400, generator=torch.Generator().manual_seed(6)) < 0.3
    hits = [int(n == t) for n, t, r in zip(new, true, relabeled, strict=True) if r]
    assert relabel_accuracy(new, true, relabeled).item() == pytest.approx(sum(hits) / len(hits), abs=1e-12)


def test_values_print_as_they_are():
    assert standard_accuracy(torch.arange(10), torch.arange(10).clamp(max=8)).item() == 0.9


def test_nothing_applies():
    """No eligible image: NaN, not 0."""
    only_target, nothing = torch.zeros(3, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    values = [
        standard_accuracy(nothing, nothing),
        attack_success_rate(only_target, only_target, 0),
        robust_accuracy(only_target, only_target, 0),
        targeted_misclassification_rate(only_target, only_target, only_target, 1, source=2),
        relabel_accuracy(only_target, only_target, only_target.bool()),
    ]
    assert all(math.isnan(value) for value in values)


def test_lengths_are_checked():
    """A column that broadcasts would give a wrong number without a word."""
    one, five = torch.zeros(1, dtype=torch.long), torch.zeros(5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"prediction_triggered \(1,\), true_label \(5,\)"):
        attack_success_rate(one, five, 0)
    with pytest.raises(ValueError, match="columns of one table"):
        standard_accuracy(torch.zeros(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="columns of one table"):
        targeted_misclassification_rate(five, one, five, 0)


@pytest.mark.parametrize(
    ("rate", "columns"),
    [(standard_accuracy, 2), (robust_accuracy, 2), (relabel_accuracy, 3), (targeted_misclassification_rate, 3)],
    ids=["SA", "RA", "relabel accuracy", "TMR"],
)
def test_no_column_broadcasts(rate, columns):
    """Whichever of them is shorter."""
    more = {standard_accuracy: (), relabel_accuracy: ()}.get(rate, (0,))
    for short in range(columns):
        column = [torch.zeros(1 if c == short else 5, dtype=torch.int64) for c in range(columns)]
        with pytest.raises(ValueError, match="columns of one table"):
            rate(*column, *more)
