"""The recipe around the spectral scores."""

from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.defenses import SpectralSignatures
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView


def recipe(**arguments: Any) -> SpectralSignatures:
    return SpectralSignatures(network=SmallCNN, epochs=1, **arguments)


@pytest.fixture
def features(view: TrainingView) -> torch.Tensor:
    """Of 200 digits: the first two of class 3 lie far out."""
    features = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    features[(view.label == 3).nonzero().flatten()[:2]] += 30
    return features


def test_the_same_part_of_every_class_is_dropped(view: TrainingView, recording: Any, features: torch.Tensor) -> None:
    verdict = recipe(fraction=0.1).cleanse(view, recording(features={"features": features})).verdict
    for c in range(10):
        size = int((view.label == c).sum())
        assert int(verdict.dropped[view.label == c].sum()) == size // 10
    assert verdict.dropped[(view.label == 3).nonzero().flatten()[0]]


def test_with_a_poison_rate_one_and_a_half_times_as_many(
    view: TrainingView, recording: Any, features: torch.Tensor
) -> None:
    verdict = recipe(poison_rate=0.02).cleanse(view, recording(features={"features": features})).verdict
    assert [int(verdict.dropped[view.label == c].sum()) for c in range(10)] == [6] * 10


def test_with_a_target_only_its_class_loses_images(view: TrainingView, recording: Any, features: torch.Tensor) -> None:
    verdict = recipe(poison_rate=0.01, target=3).cleanse(view, recording(features={"features": features})).verdict
    assert view.label[verdict.dropped].tolist() == [3] * 3
    assert verdict.dropped[(view.label == 3).nonzero().flatten()[:2]].all()


def test_scores_can_be_compared_between_classes(view: TrainingView, recording: Any, features: torch.Tensor) -> None:
    scaled = features * (1 + view.label[:, None])
    first = recipe().cleanse(view, recording(features={"features": features})).verdict.score
    second = recipe().cleanse(view, recording(features={"features": scaled})).verdict.score
    assert torch.allclose(first, second, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "given"),
    [({}, ()), ({"poison_rate": 0.02}, ("rate:0.02",)), ({"poison_rate": 0.1, "target": 0}, ("rate:0.1", "target:0"))],
    ids=["nothing", "rate", "rate and target"],
)
def test_what_it_is_told_marks_the_results(arguments: dict[str, Any], given: tuple[str, ...]) -> None:
    assert recipe(**arguments).given() == given


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"poison_rate": 0.0}, r"poison_rate is .* in \(0, 1\], not 0.0"),
        ({"poison_rate": 1.1}, r"poison_rate is .* in \(0, 1\], not 1.1"),
        ({"fraction": 0.0}, r"fraction is .* in \(0, 1\), not 0.0"),
        ({"fraction": 1.0}, r"fraction is .* in \(0, 1\), not 1.0"),
    ],
)
def test_rates_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**arguments)


def test_a_target_that_is_no_class_is_refused(view: TrainingView, recording: Any) -> None:
    with pytest.raises(ValueError, match="target is a class, 0 to 9, not 10"):
        recipe(target=10).cleanse(view, recording())


@pytest.mark.slow
def test_on_digits_the_attack_works_and_the_defense_does_not_help(runner: Runner) -> None:
    """As the README says: without 15 % of every class enough poison is left for the attack."""
    data = Digits(attack=BadNets(pattern="noise", target=5, count=20), batch_size=32, augment=[], seed=0)
    defense = SpectralSignatures(network=SmallCNN, epochs=20, milestones=[15])
    results = run_experiment(Setup(defense, data, runner, compare=["none"], report=False)).results
    assert results["none_asr"] > 0.9
    assert results["asr"] > 0.5
    assert results["dropped"] == sum(int(0.15 * n) for n in data.training_view().label.bincount().tolist())
