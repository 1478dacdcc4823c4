"""SA, ASR, RA, TMR and relabel accuracy against plain loops."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score

from cleanse.metrics import (
    AttackSuccessRate,
    RelabelAccuracy,
    RobustAccuracy,
    StandardAccuracy,
    TargetedMisclassificationRate,
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
    """ASR, RA and TMR, image by image (DESIGN section 3)."""
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
    """SPEC C4: a constant classifier has ASR 1, and one that is always right 0, whatever the share of the target."""
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
    """No eligible image: NaN, not 0, in function and class."""
    only_target, nothing = torch.zeros(3, dtype=torch.long), torch.zeros(0, dtype=torch.long)
    values = [
        standard_accuracy(nothing, nothing),
        attack_success_rate(only_target, only_target, 0),
        robust_accuracy(only_target, only_target, 0),
        targeted_misclassification_rate(only_target, only_target, only_target, 1, source=2),
        relabel_accuracy(only_target, only_target, only_target.bool()),
    ]
    assert all(math.isnan(value) for value in values)
    metric = AttackSuccessRate(target=0)
    metric.update(only_target, only_target)
    assert math.isnan(metric.compute())


CASES = {
    "sa": (StandardAccuracy, lambda c, t, y: (c, y), lambda c, t, y: standard_accuracy(c, y)),
    "asr": (lambda: AttackSuccessRate(1), lambda c, t, y: (t, y), lambda c, t, y: attack_success_rate(t, y, 1)),
    "ra": (lambda: RobustAccuracy(1, 2), lambda c, t, y: (t, y), lambda c, t, y: robust_accuracy(t, y, 1, 2)),
    "tmr": (
        lambda: TargetedMisclassificationRate(1),
        lambda c, t, y: (c, t, y),
        lambda c, t, y: targeted_misclassification_rate(c, t, y, 1),
    ),
    "relabel": (RelabelAccuracy, lambda c, t, y: (c, y, t > 2), lambda c, t, y: relabel_accuracy(c, y, t > 2)),
}


@pytest.mark.parametrize("name", CASES)
def test_class_over_batches_and_processes(name):
    """Batches of unequal size, and two processes merged by the sums that DDP uses, give the whole table's value."""
    make, arguments, function = CASES[name]
    columns = table(7)
    expected = function(*columns).item()
    whole, first, second = make(), make(), make()
    for start, stop, part in ((0, 7, first), (7, 150, first), (150, 400, second)):
        rows = arguments(*(column[start:stop] for column in columns))
        whole.update(*rows)
        part.update(*rows)
    assert whole.compute().item() == expected
    assert first.clone().compute().item() != pytest.approx(expected, abs=1e-6)
    gathered = {state: torch.stack([getattr(first, state), getattr(second, state)]) for state in ("hit", "total")}
    first.merge_state(second)
    assert first.compute().item() == expected
    synced = make()
    for state, values in gathered.items():
        setattr(synced, state, synced._reductions[state](values))
    assert synced.hit / synced.total == pytest.approx(expected)
    whole.reset()
    assert int(whole.total) == 0


def test_lengths_are_checked():
    """A column that broadcasts would give a wrong number without a word."""
    one, five = torch.zeros(1, dtype=torch.long), torch.zeros(5, dtype=torch.long)
    with pytest.raises(ValueError, match=r"prediction_triggered \(1,\), true_label \(5,\)"):
        attack_success_rate(one, five, 0)
    with pytest.raises(ValueError, match="columns of one table"):
        standard_accuracy(torch.zeros(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="columns of one table"):
        TargetedMisclassificationRate(0).update(five, one, five)
