"""TPR, FPR and AUROC of a verdict against sklearn."""

import math

import pytest
import torch
from sklearn.metrics import confusion_matrix, roc_auc_score

from cleanse.attacks.base import CLEAN, COVER, POISON
from cleanse.metrics import detection_rates


def table(seed, n=600):
    generator = torch.Generator().manual_seed(seed)
    role = torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), n, True, generator=generator).to(torch.int8)
    score = torch.randn(n, generator=generator) + 0.8 * (role == POISON)
    return score > 0.7, score, role


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ties", [False, True])
def test_against_sklearn(seed, ties):
    flagged, score, role = table(seed)
    if ties:
        score = (score * 2).round()
    rates = detection_rates(flagged, score, role)
    counted = role != COVER
    poison = (role == POISON)[counted]
    tn, fp, fn, tp = confusion_matrix(poison, flagged[counted]).ravel()
    assert rates["tpr"].item() == pytest.approx(tp / (tp + fn), abs=1e-12)
    assert rates["fpr"].item() == pytest.approx(fp / (fp + tn), abs=1e-12)
    assert rates["auroc"].item() == pytest.approx(roc_auc_score(poison, score[counted]), abs=1e-6)


def test_covers_are_counted_apart():
    """Neither verdict nor score of a cover image touches the other figures."""
    flagged, score, role = table(0)
    covers = role == COVER
    before = detection_rates(flagged & ~covers, score, role)
    after = detection_rates(flagged | covers, score + 100 * covers, role)
    assert before.pop("cover_flagged").item() == 0
    assert after.pop("cover_flagged").item() == 1
    assert before == after


def test_auroc_depends_on_the_order_only():
    """Scores beyond float32's sigmoid, and infinite ones, are still told apart."""
    flagged, score, role = table(1)
    expected = detection_rates(flagged, score, role)["auroc"]
    for same in (score * 1000 + 5000, score.double().exp(), score / 1e6):
        assert detection_rates(flagged, same, role)["auroc"] == expected
    role = torch.tensor([0, 1, 1, 0])
    assert detection_rates(role > 0, torch.tensor([-torch.inf, 50.0, torch.inf, 40.0]), role)["auroc"] == 1


def test_no_auroc_is_above_one():
    """Of 1,000 poisoned images that all 49,000 others are below, the sum of torchmetrics was 1.0000001."""
    role = torch.full((50_000,), CLEAN)
    role[-1000:] = POISON
    found = detection_rates(torch.zeros(50_000).bool(), torch.arange(50_000).float(), role)
    assert found["auroc"] <= 1
    assert found["auroc"] == pytest.approx(1)


def test_equal_scores_are_worth_one_half():
    role = torch.tensor([0, 1, 0, 1])
    assert detection_rates(role > 0, torch.zeros(4), role)["auroc"].item() == 0.5


def test_what_does_not_apply_is_nan():
    flagged, score = torch.tensor([True, False]), torch.tensor([1.0, 0.0])
    clean = detection_rates(flagged, score, torch.tensor([CLEAN, CLEAN]))
    assert clean["fpr"].item() == 0.5
    assert all(math.isnan(clean[name]) for name in ("tpr", "auroc", "cover_flagged"))
    poison = detection_rates(flagged, score, torch.tensor([POISON, POISON]))
    assert math.isnan(poison["fpr"])
    assert math.isnan(poison["auroc"])
    assert poison["tpr"].item() == 0.5
    covers = detection_rates(flagged, score, torch.tensor([COVER, COVER]))
    assert math.isnan(covers["auroc"])
    assert covers["cover_flagged"].item() == 0.5
    none = detection_rates(flagged[:0], score[:0], torch.zeros(0, dtype=torch.int8))
    assert all(math.isnan(value) for value in none.values())


def test_refusals():
    flagged, score, role = table(3)
    with pytest.raises(ValueError, match="role is 0"):
        detection_rates(flagged, score, role + 1)
    with pytest.raises(ValueError, match="1 scores are NaN"):
        detection_rates(flagged[:2], torch.tensor([0.0, torch.nan]), role[:2])
    with pytest.raises(ValueError, match="columns of one table"):
        detection_rates(flagged[:1], score, role)


@pytest.mark.parametrize("short", ["flagged", "score", "role"])
def test_no_column_broadcasts(short):
    column = {name: torch.zeros(1 if name == short else 4, dtype=torch.int64) for name in ("flagged", "score", "role")}
    with pytest.raises(ValueError, match="columns of one table"):
        detection_rates(column["flagged"].bool(), column["score"].float(), column["role"])
