"""Scores along the main direction of a class, and those of the toolbox that published code uses."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from cleanse.functional import spectral_count, spectral_scores


def shifted(by: float, mean: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """100 rows of 16 numbers around (mean, 0, ...), of which the last 10 are shifted along the first axis."""
    features = torch.randn(100, 16, generator=torch.Generator().manual_seed(seed))
    features[:, 0] += mean
    features[90:, 0] += by
    return features, torch.arange(100) >= 90


def test_a_planted_shift_is_found_exactly() -> None:
    features, planted = shifted(12.0)
    assert float(binary_auroc(spectral_scores(features), planted.long())) == 1.0


def test_the_centered_score_does_not_depend_on_where_the_class_lies() -> None:
    features, _ = shifted(6.0)
    moved = features.double() + 3.0
    assert torch.allclose(spectral_scores(moved), spectral_scores(features.double()))
    assert not torch.allclose(
        spectral_scores(moved, centered=False), spectral_scores(features.double(), centered=False)
    )


def test_the_published_score_can_rank_poison_below_clean_images() -> None:
    """Poison on the side of zero of a class that lies away from it: its projection is the smallest."""
    features, planted = shifted(-8.0, mean=10.0)
    assert float(binary_auroc(spectral_scores(features), planted.long())) > 0.99
    assert float(binary_auroc(spectral_scores(features, centered=False), planted.long())) < 0.5


def test_the_mean_of_the_scores_is_the_variance_along_the_direction() -> None:
    features, _ = shifted(6.0)
    top = torch.linalg.eigvalsh(torch.cov(features.double().T, correction=0))[-1]
    assert float(spectral_scores(features).mean()) == pytest.approx(float(top))


@pytest.mark.parametrize("by", [12.0, -8.0])
def test_the_uncentered_score_is_the_square_of_the_toolboxs(by: float) -> None:
    art = pytest.importorskip("art.defences.detector.poison.spectral_signature_defense")
    features, _ = shifted(by, mean=5.0)
    theirs = art.SpectralSignatureDefense.spectral_signature_scores(features.double().numpy())[:, 0]
    assert np.allclose(spectral_scores(features, centered=False).sqrt().numpy(), theirs)


def test_the_centered_score_is_the_square_of_the_toolboxs_on_centered_features() -> None:
    art = pytest.importorskip("art.defences.detector.poison.spectral_signature_defense")
    features, _ = shifted(6.0, mean=5.0)
    moved = features.double() - features.double().mean(0)
    theirs = art.SpectralSignatureDefense.spectral_signature_scores(moved.numpy())[:, 0]
    assert np.allclose(spectral_scores(features).sqrt().numpy(), theirs)


@pytest.mark.parametrize(("size", "expected", "count"), [(140, 42, 63), (140, 140, 70), (140, 0.4, 0), (9, 100, 4)])
def test_how_many_are_dropped(size: int, expected: float, count: int) -> None:
    assert spectral_count(size, expected) == count


@pytest.mark.parametrize(
    "features", [torch.zeros(0, 3), torch.zeros(5), torch.full((5, 2), float("inf"))], ids=["none", "flat", "inf"]
)
def test_what_has_no_direction_is_refused(features: Tensor) -> None:
    with pytest.raises(ValueError, match=r"features are \(n, D\) finite"):
        spectral_scores(features)
