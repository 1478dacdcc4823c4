"""The recipe around the clusters."""

from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.defenses import ActivationClustering
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView


@pytest.fixture
def planted(view: TrainingView) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of 200 digits: classes have two halves, and class 3 a blob of four."""
    features = 0.3 * torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    for c in range(10):
        features[(view.label == c).nonzero().flatten()[::2], 1] += 5  # every class has two halves
    blob = (view.label == 3).nonzero().flatten()[:4]
    features[blob] += 20
    return features, blob


def recipe(**arguments: Any) -> ActivationClustering:
    return ActivationClustering(network=SmallCNN, epochs=1, **arguments)


def test_the_smaller_cluster_of_a_class_is_dropped(view: TrainingView, recording: Any, planted: Any) -> None:
    features, blob = planted
    outcome = recipe(most=0.22).cleanse(view, run := Scripted(recording, features=features))
    assert outcome.verdict.dropped.nonzero().flatten().tolist() == blob.tolist()
    assert outcome.verdict.reason[int(blob[0])] == "in the smaller cluster of its class"
    assert (outcome.verdict.score[blob] > 0.8).all()
    assert run.names == ["classifier", "features"]


@pytest.mark.parametrize(("least", "dropped"), [(0.1, 4), (0.99, 0)])
def test_a_cluster_may_have_to_be_set_apart_as_well(
    least: float, dropped: int, view: TrainingView, recording: Any, planted: Any
) -> None:
    asked = recipe(rule="silhouette", most=0.22, least_silhouette=least)
    verdict = asked.cleanse(view, Scripted(recording, features=planted[0])).verdict
    assert int(verdict.dropped.sum()) == dropped


def Scripted(recording: Any, features: torch.Tensor, **columns: torch.Tensor) -> Any:
    class Runner(recording):  # type: ignore[misc]
        def generator(self, name: str, data: TrainingView) -> torch.Generator:
            return torch.Generator().manual_seed(0)

    return Runner(features={"features": features}, reclassify=columns)


def test_one_class_says_nothing_of_another(view: TrainingView, recording: Any, planted: Any) -> None:
    features, _ = planted
    before = recipe(most=0.22).cleanse(view, Scripted(recording, features)).verdict
    changed = features.clone()
    changed[(view.label == 5).nonzero().flatten()[:3]] -= 30
    after = recipe(most=0.22).cleanse(view, Scripted(recording, changed)).verdict
    others = view.label != 5
    assert torch.equal(before.action[others], after.action[others])
    assert int(after.dropped[~others].sum()) == 3


def test_a_cluster_that_is_reclassified_elsewhere_is_relabeled(
    view: TrainingView, recording: Any, planted: Any
) -> None:
    features, blob = planted
    prediction = view.label.clone()
    prediction[blob] = 8
    run = Scripted(recording, features, prediction=prediction)
    verdict = recipe(rule="smaller", reclassify=1.0, relabel=True).cleanse(view, run).verdict
    assert verdict.relabeled.nonzero().flatten().tolist() == blob.tolist()
    assert verdict.new_label[blob].tolist() == [8] * 4
    assert not verdict.dropped.any()
    left = run["without_clusters"].data
    assert not set(left.id) & {view.id[int(i)] for i in blob}


def test_images_without_a_label_are_dropped(view: TrainingView, recording: Any, planted: Any) -> None:
    features, _ = planted
    label = view.label.clone()
    label[:5] = -1
    verdict = recipe(most=0.01).cleanse(view.with_labels(label), Scripted(recording, features)).verdict
    assert verdict.dropped.nonzero().flatten().tolist() == list(range(5))
    assert verdict.reason[0] == "no label"


def test_a_network_that_diverged_is_refused(view: TrainingView, recording: Any, planted: Any) -> None:
    features, _ = planted
    features[7] = float("nan")
    with pytest.raises(ValueError, match=r"not finite for 1 of 200 images: lower --model.lr"):
        recipe().cleanse(view, Scripted(recording, features))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dims": 0}, "dims is at least 1"),
        ({"rule": "distance"}, "rule is one of relative_size, silhouette, smaller"),
        ({"most": 0.6}, r"most is .* in \(0, 0.5\], not 0.6"),
        ({"reclassify": 0.0}, "reclassify is a ratio above 0"),
        ({"relabel": True}, "relabel needs reclassify"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(**arguments)


@pytest.mark.slow
def test_on_digits_the_attack_works_and_the_defense_helps(runner: Runner) -> None:
    data = Digits(attack=BadNets(pattern="noise", target=5, count=40), batch_size=32, augment=[], seed=0)
    defense = ActivationClustering(network=SmallCNN, epochs=20, milestones=[15])
    results = run_experiment(Setup(defense, data, runner, compare=["none"], report=False)).results
    assert results["none_asr"] > 0.9
    assert results["asr"] < 0.1
    assert results["sa"] > results["none_sa"] - 0.05
    assert results["tpr"] > 0.9


@pytest.mark.parametrize(("most", "lines"), [(10, 10), (9, 0)])
def test_many_classes_have_no_line_each(
    view: TrainingView, recording: Any, planted: Any, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch, most: int, lines: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("cleanse.defenses.activation_clustering.MOST_NAMED", most)
    with caplog.at_level("INFO", logger="cleanse"):
        recipe().cleanse(view, Scripted(recording, features=planted[0]))
    assert sum("form the smaller cluster" in message for message in caplog.messages) == lines
