"""Relabeling by per-class flows (paper 003): what the recipe finds, keeps, moves home and never reads."""

import json
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.defenses import FlowRelabel
from cleanse.engine.runner import Runner
from cleanse.functional import Disruption
from cleanse.networks import Pretrained, SmallCNN, SmallResNet
from cleanse.views import TrainingView

SMALL: dict[str, Any] = {
    "network": partial(SmallCNN, width=8), "pretrain_epochs": 1, "pretrain_batch_size": 100, "flow_epochs": 1,
    "epochs": 1,
}  # fmt: skip
CLASSES = tuple("abcdefghij")


def densities(low: int | None = None, per_class: int = 30, classes: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-densities: every image fits its class, is far from the others, and ``low`` covers all of them."""
    label = torch.arange(classes).repeat_interleave(per_class)
    density = torch.full((len(label), classes), -8.0) - torch.rand(len(label), classes)
    density[torch.arange(len(label)), label] = 0.0
    if low is not None:
        density[:, low] = -1.0
    return density, label


@pytest.mark.parametrize("low", [None, 0, 7])
def test_the_relative_rule_finds_the_class_that_covers_the_others(low: int | None) -> None:
    nondisruptive, disruptive = FlowRelabel(rule="relative").find(*densities(low), CLASSES)
    assert nondisruptive.nonzero().flatten().tolist() == ([] if low is None else [low])
    assert not disruptive.any()


def test_the_papers_numbers_are_the_default(caplog: pytest.LogCaptureFixture) -> None:
    """Below 0.6 nats per dimension; everything flagged is warned about, nothing flagged is said."""
    recipe = FlowRelabel()
    density, label = densities()
    density[:, 3] = torch.where(label == 3, 0.0, -0.59)
    density[:, 4] = torch.where(label == 4, 0.0, -0.61)
    assert recipe.find(density, label, CLASSES)[0].nonzero().flatten().tolist() == [3]
    with caplog.at_level(logging.INFO, "cleanse"):
        near = densities()[0]
        near[torch.arange(len(near)), (label + 1) % 10] = 0.02 * torch.rand(len(near))
        assert not torch.stack(recipe.find(near, label, CLASSES)).any()
        assert "no class is flagged: every image is kept" in caplog.text
        assert recipe.find(density.clamp(min=-0.1), label, CLASSES)[0].all()
        assert "every class is flagged" in caplog.text


class Blind(FlowRelabel):
    """A detector that flags nothing."""

    def find(self, density: torch.Tensor, label: torch.Tensor, classes: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return (nothing := torch.zeros(len(classes), dtype=torch.bool)), nothing


def test_without_a_flag_every_poisoned_image_is_trained_on(runner: Runner) -> None:
    """D-T9, which the published retraining step fails: nothing knows the poison."""
    data = Digits(attack=BadNets(class_rate=0.1), limit_train=200, batch_size=32, seed=0)
    view = data.training_view()
    outcome = Blind(**SMALL).cleanse(view, runner)
    assert outcome.verdict.kept.all() and data.truth.poisoned.any()
    rest = view.with_verdict(outcome.verdict)
    assert torch.equal(rest.label, view.label) and torch.equal(rest.rows, view.rows)


class Told(FlowRelabel):
    """A detector that flags what it is told to."""

    flags: tuple[set[int], set[int]] = (set(), set())

    def find(self, density: torch.Tensor, label: torch.Tensor, classes: Any) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = (torch.tensor([c in f for c in range(len(classes))]) for f in self.flags)
        return first, second


def test_what_becomes_of_flagged_classes(runner: Runner) -> None:
    """D-T8 in the recipe: slices of 15 %, relabeled or dropped; unflagged classes stay as they are."""
    data = Digits(limit_train=200, batch_size=32, seed=0)
    view = data.training_view()
    recipe = Told(**SMALL)
    recipe.flags = ({2}, {5})
    verdict = recipe.cleanse(view, runner).verdict
    n2, n5 = (int((view.label == c).sum()) for c in (2, 5))
    of = {c: view.label == c for c in (2, 5)}
    assert int(verdict.relabeled[of[2]].sum()) == int(0.15 * n2) and not verdict.relabeled[of[5]].any()
    assert (verdict.new_label[verdict.relabeled] != 2).all()
    assert int(verdict.kept[of[2]].sum()) == n2 - int(0.85 * n2) and int(verdict.kept[of[5]].sum()) == int(0.15 * n5)
    rest = ~(of[2] | of[5])
    assert verdict.kept[rest].all()
    assert verdict.score[rest].max() <= 0 <= verdict.score[~rest].min()  # what is not flagged is not suspicious
    for c in (2, 5):  # what is kept of a flagged class is at one end of its order
        kept = verdict.kept & of[c]
        assert verdict.score[kept].max() < verdict.score[of[c] & ~kept].min()


def test_withheld_labels_are_left_out(runner: Runner) -> None:
    view = Digits(limit_train=200, batch_size=32, labeled=0.5, seed=0).training_view()
    verdict = FlowRelabel(rule="relative", **SMALL).cleanse(view, runner).verdict
    assert verdict.dropped[~view.labeled].all()
    assert all(why == "no label" for why, given in zip(verdict.reason, view.labeled.tolist(), strict=True) if not given)


def test_encoders(view: TrainingView, runner: Runner, tmp_path: Path) -> None:
    """SimCLR, a classifier trained on the data, each with a network of its own; a pre-trained one trains nothing."""
    small = {**SMALL, "encoder_network": partial(SmallResNet, width=8)}
    for encoder in ("simclr", "supervised"):
        features = FlowRelabel(encoder=encoder, **small).features(view, runner)  # type: ignore[arg-type]
        assert features.shape == (200, 32) and features.isfinite().all(), encoder
    from torchvision.models import get_model

    torch.save(get_model("squeezenet1_1", num_classes=7).state_dict(), tmp_path / "w.pt")
    made = partial(Pretrained, "squeezenet1_1", str(tmp_path / "w.pt"), size=32)
    fits = len([name for name, _ in runner.stages])
    features = FlowRelabel(encoder="pretrained", pretrained=made, **SMALL).features(view, runner)
    assert len(features) == 200 and [name for name, _ in runner.stages][fits:] == ["embed"]


def test_bad_input() -> None:
    for arguments, message in (
        ({"encoder": "clip"}, "encoder is simclr or supervised or pretrained, not 'clip'"),
        ({"rule": "mine"}, "rule is paper or relative"),
        ({"alpha_clean": 0.51}, "alpha_clean is between 0 and 0.5"),
        ({"alpha_poison": -0.1}, "alpha_poison is between 0 and 0.5"),
        ({"encoder": "pretrained"}, "belong together"),
    ):
        with pytest.raises(ValueError, match=message):
            FlowRelabel(**arguments)


def test_densities_that_overflow_flag_nothing() -> None:
    """Features on which the flows explode: finite or not, a clean class is not flagged for it."""
    density, label = densities()
    density[:, 1] = torch.where(label == 1, 0.0, -1e21)
    density[:, 2] = torch.where(label == 2, 0.0, -math.inf)
    nondisruptive, disruptive = FlowRelabel(rule="relative").find(density, label, CLASSES)
    assert not nondisruptive.any() and not disruptive.any()
    assert Disruption._fields == ("flagged", "score", "split")


@pytest.mark.slow
def test_it_cleanses_the_digits(cleanse: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    """The target class is found and no other; most of its images are dropped, the rest of the poison goes home."""
    done = cleanse(
        "fit", "--config", "flow.yaml", "--config", "quick.yaml", "--config", "attacks/badnets.yaml",
        "--compare", "[none]",
    )  # fmt: skip
    results = json.loads((tmp_path / done.stdout.splitlines()[-1] / "results.json").read_text())
    assert results["none_asr"] > 0.9
    assert results["asr"] <= 0.05 and results["sa"] >= results["none_sa"] - 0.05
    assert results["tpr"] >= 0.9 and results["relabel_accuracy"] >= 0.85 and results["auroc"] > 0.9
    assert "class '0' holds non-disruptive poison" in done.stderr
    assert done.stderr.count("disruptive poison") == 1
