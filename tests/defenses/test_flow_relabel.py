"""Relabeling by per-class flows (Sabolic et al. 2024): what is found, kept, moved home, and what each stage gets."""

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
from torch import Tensor

from cleanse.attacks import BadNets
from cleanse.augment import SimCLRAugment
from cleanse.data import Digits
from cleanse.defenses import FlowRelabel
from cleanse.defenses.flow_relabel import log_attacked_classes
from cleanse.encoders import Pretrained
from cleanse.engine.runner import Runner
from cleanse.networks import SmallCNN, SmallResNet
from cleanse.verdict import Verdict
from cleanse.views import TableView, TrainingView

SMALL: dict[str, Any] = {
    "network": partial(SmallCNN, width=8), "pretrain_epochs": 1, "pretrain_batch_size": 100, "flow_epochs": 1,
    "epochs": 1,
}  # fmt: skip


@pytest.fixture
def digits(view: TrainingView) -> Tensor:
    """Log-densities (200, 10) in which every image fits its class and the next one, and is far from the others."""
    draw = torch.rand(200, 10, generator=torch.Generator().manual_seed(3))
    density, row = -8.0 - draw, torch.arange(200)
    density[row, view.label] = 0.0
    density[row, (view.label + 1) % 10] = 0.02 * draw[:, 0]
    return density


@pytest.fixture
def judged(view: TrainingView, recording: Any) -> Callable[..., Verdict]:
    """``judged(density, **arguments)``: the recipe's verdict where the flows find these densities."""

    def call(density: Tensor, **arguments: Any) -> Verdict:
        features = torch.randn(200, 4, generator=torch.Generator().manual_seed(1))
        run = recording(embed={"features": features}, density={"log_density": density})
        return FlowRelabel(**{**SMALL, **arguments}).cleanse(view, run).verdict

    return call


def flagged(verdict: Verdict) -> list[int]:
    """The classes that lose images."""
    return sorted(set(verdict.label[~verdict.kept].tolist()))


def said(caplog: pytest.LogCaptureFixture) -> Any:
    return caplog.at_level(logging.INFO, "cleanse")


@pytest.mark.parametrize("low", [None, 0, 7])
def test_the_relative_rule_finds_the_class_that_covers_the_others(low: int | None, judged: Any, digits: Tensor) -> None:
    if low is not None:
        digits[:, low] = torch.where(digits[:, low] == 0, 0.0, -1.0)
    assert flagged(judged(digits, rule="relative")) == ([] if low is None else [low])


@pytest.mark.parametrize(("below", "expected"), [({}, [3]), ({"nondisruptive_below": 0.7}, [3, 4])])
def test_s_nd_below_the_papers_number_is_flagged(
    below: Any, expected: list[int], judged: Any, digits: Tensor, view: TrainingView
) -> None:
    """beta_ND is 0.6 nats per dimension."""
    digits[:, 3] = torch.where(view.label == 3, 0.0, -0.59)
    digits[:, 4] = torch.where(view.label == 4, 0.0, -0.61)
    assert flagged(judged(digits, disruptive_above=0.99, **below)) == expected


def with_a_far_part(digits: Tensor, label: Tensor, c: int, share: float, near: float = -0.05) -> Tensor:
    """Class c in two parts: ``share`` of it is like no other class, the rest a little like the next one."""
    rows = (label == c).nonzero().flatten()
    far = round(share * len(rows))
    digits[rows[:far], (c + 1) % 10] = torch.linspace(-1.3, -1.2, far)
    digits[rows[far:], (c + 1) % 10] = torch.linspace(near - 0.02, near, len(rows) - far)
    return digits


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, [5]), ({"disruptive_above": 0.4}, []), ({"density_limit": 0.25}, [])],
    ids=["the paper's", "a larger beta_D", "a smaller lambda"],
)
def test_a_part_like_no_other_class_is_flagged(
    arguments: Any, expected: list[int], judged: Any, digits: Tensor, view: TrainingView
) -> None:
    assert flagged(judged(with_a_far_part(digits, view.label, 5, 0.3), **arguments)) == expected


@pytest.mark.parametrize(("arguments", "expected"), [({"far_below": 0.4}, [5]), ({}, [])])
def test_the_relative_rule_measures_by_the_median(
    arguments: Any, expected: list[int], judged: Any, digits: Tensor, view: TrainingView
) -> None:
    density = with_a_far_part(digits, view.label, 5, 0.3)
    assert flagged(judged(density, rule="relative", lower_by=1e9, **arguments)) == expected


@pytest.mark.parametrize(("lower_by", "expected"), [(2.5, [2]), (4.5, [])])
def test_the_relative_rule_asks_how_much_lower(lower_by: float, expected: list[int], judged: Any, digits: Any) -> None:
    digits[:, 2] = torch.where(digits[:, 2] == 0, 0.0, -2.0)  # a quarter of the others'
    assert flagged(judged(digits, rule="relative", lower_by=lower_by)) == expected


def test_nothing_flagged_is_said(judged: Any, digits: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with said(caplog):
        judged(digits)
    assert "no class is flagged: every image is kept" in caplog.text


def test_everything_flagged_is_warned_about(judged: Any, digits: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    with said(caplog):
        judged(digits.clamp(min=-0.1))
    assert "every class is flagged" in caplog.text


@pytest.mark.parametrize(("c", "why"), [(2, "as with non-disruptive poison"), (5, "as with disruptive poison")])
def test_the_log_says_what_was_seen_and_not_that_there_is_poison(
    c: int, why: str, judged: Any, digits: Tensor, view: TrainingView, caplog: pytest.LogCaptureFixture
) -> None:
    """Clean classes are flagged as well; the log is no surer than the summary."""
    with said(caplog):
        judged(both_kinds(digits, view.label))
    (line,) = [line for line in caplog.messages if line.startswith(f"class '{c}' is flagged")]
    assert why in line
    assert "clean classes can be flagged too" in line
    assert "holds" not in caplog.text


def test_without_a_flag_every_poisoned_image_is_trained_on(recording: Any) -> None:
    """Nothing knows the poison; the published retraining step reads a list of it."""
    data = Digits(attack=BadNets(class_rate=0.1), limit_train=200, batch_size=32, seed=0)
    view = data.training_view()
    density = -8 * torch.ones(200, 10)
    run = recording(embed={"features": torch.randn(200, 4)}, density={"log_density": density})
    outcome = FlowRelabel(**SMALL).cleanse(view, run)
    assert outcome.model is run["classifier"].module
    assert data.truth.poisoned.any()
    assert outcome.verdict.kept.all()
    assert torch.equal(run["classifier"].data.label, view.label)
    assert torch.equal(run["classifier"].data.rows, view.rows)


def both_kinds(digits: Tensor, label: Tensor) -> Tensor:
    """Class 2 covers all others (non-disruptive), class 5 has a part of its own (disruptive)."""
    digits[:, 2] = torch.where(label == 2, 0.05, -0.5)
    digits[label == 2, 3] = -8.0
    digits[label == 2, 6] = torch.linspace(0.1, 0.0, int((label == 2).sum()))
    return with_a_far_part(digits, label, 5, 0.3)


@pytest.mark.parametrize(("clean", "poison"), [(0.15, 0.15), (0.3, 0.1)])
def test_both_ends_of_a_nondisruptive_class(
    clean: float, poison: float, judged: Any, digits: Tensor, view: TrainingView
) -> None:
    """alpha_poison of it, which looks most like another class, goes there; alpha_clean stays; the rest is dropped."""
    verdict = judged(both_kinds(digits, view.label), alpha_clean=clean, alpha_poison=poison)
    rows = view.label == 2
    n = int(rows.sum())
    assert int(verdict.relabeled[rows].sum()) == int(poison * n)
    assert int(verdict.kept[rows].sum()) == n - int((1 - clean) * n)
    assert (verdict.new_label[rows & verdict.relabeled] == 6).all()
    home = (verdict.new_label[rows] == 6).nonzero().flatten()
    assert verdict.reason.count("looks like '6'") == len(home)
    assert home.tolist() == list(range(int(poison * n)))  # the densities of class 6 fall from row to row


@pytest.mark.parametrize(("clean", "poison"), [(0.15, 0.15), (0.3, 0.1)])
def test_both_ends_of_a_disruptive_class(
    clean: float, poison: float, judged: Any, digits: Tensor, view: TrainingView
) -> None:
    """Nothing of it is relabeled; the part like no other class is dropped."""
    verdict = judged(both_kinds(digits, view.label), alpha_clean=clean, alpha_poison=poison)
    rows = view.label == 5
    n = int(rows.sum())
    assert not verdict.relabeled[rows].any()
    assert int(verdict.kept[rows].sum()) == int(clean * n)
    assert not verdict.kept[rows][: round(0.3 * n)].any()
    assert verdict.reason.count("like poison in a flagged class") == n - int((1 - poison) * n)
    others = [
        r for r, own, kept in zip(verdict.reason, rows.tolist(), verdict.kept.tolist(), strict=True) if own and not kept
    ]
    assert set(others) == {"like poison in a flagged class", "in a flagged class, between both ends"}


def test_what_is_not_flagged_stays_and_is_not_suspicious(judged: Any, digits: Tensor, view: TrainingView) -> None:
    verdict = judged(both_kinds(digits, view.label))
    rest = (view.label != 2) & (view.label != 5)
    assert verdict.kept[rest].all()
    assert verdict.score[rest].max() <= 0 <= verdict.score[~rest].min()


@pytest.mark.parametrize("c", [2, 5])
def test_what_is_kept_of_a_flagged_class_is_its_least_suspicious_end(
    c: int, judged: Any, digits: Tensor, view: TrainingView
) -> None:
    verdict = judged(both_kinds(digits, view.label))
    kept, rows = verdict.kept, view.label == c
    assert verdict.score[kept & rows].max() < verdict.score[rows & ~kept].min()


@pytest.mark.parametrize("value", [-1e21, -math.inf])
def test_densities_that_overflow_flag_nothing(value: float, judged: Any, digits: Tensor) -> None:
    """Features on which the flows explode: finite or not, a clean class is not flagged for it."""
    digits[:, 1] = torch.where(digits[:, 1] == 0, 0.0, value)
    assert flagged(judged(digits, rule="relative")) == []


# --- what each stage gets: every argument has an unusual value ---
UNUSUAL: dict[str, Any] = {
    "network": partial(SmallCNN, width=3), "encoder_network": partial(SmallResNet, width=5),
    "contrastive_augment": SimCLRAugment(flip=0.125), "pretrain_epochs": 11, "pretrain_batch_size": 60,
    "pretrain_lr": 0.0123, "flow_epochs": 7, "flow_batch_size": 3, "flow_lr": 0.0456, "epochs": 17, "lr": 0.35,
    "momentum": 0.77, "weight_decay": 0.0031, "milestones": [2, 4], "gamma": 0.63,
}  # fmt: skip


@pytest.fixture
def tables(digits: Tensor) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    embed = {
        "embedding": torch.randn(200, 6, generator=generator),
        "features": torch.randn(200, 4, generator=generator),
    }
    return {"embed": embed, "density": {"log_density": digits}}


def test_simclr_gets_its_arguments(view: TrainingView, recording: Any, tables: Any) -> None:
    """Adam, a constant learning rate and a projector without bias, as in the paper and its code."""
    run = recording(**tables)
    FlowRelabel(**UNUSUAL).cleanse(view, run)
    simclr = run["simclr"]
    assert simclr.arguments == {"max_epochs": 11}
    assert simclr.data.batch_size == 60
    assert simclr.data.augment == ()
    assert isinstance(simclr.module.network, SmallResNet)
    assert simclr.module.augment is UNUSUAL["contrastive_augment"]
    assert simclr.module.optimizer == "adam"
    assert (simclr.module.lr, simclr.module.weight_decay) == (0.0123, 0.0)
    assert (simclr.module.schedule, simclr.module.warmup_epochs) == ("constant", 0)
    assert (simclr.module.projector_bias, simclr.module.base_temperature) == (False, None)
    assert simclr.module.temperature == 0.5


@pytest.mark.parametrize("column", ["features", "embedding"])
def test_the_flows_get_the_chosen_column(column: str, view: TrainingView, recording: Any, tables: Any) -> None:
    """The paper's are the encoder's features, not the projection."""
    run = recording(**tables)
    chosen = {} if column == "features" else {"features": column}
    FlowRelabel(**UNUSUAL, **chosen).cleanse(view, run)
    table = run["flows"].data
    assert isinstance(table, TableView)
    assert torch.equal(table.features, tables["embed"][column])


def test_the_flows_get_their_arguments(view: TrainingView, recording: Any, tables: Any) -> None:
    run = recording(**tables)
    FlowRelabel(**UNUSUAL).cleanse(view, run)
    flows = run["flows"]
    assert flows.arguments == {"max_epochs": 7}
    assert torch.equal(flows.data.label, view.label)
    assert flows.data.batch_size == 3
    assert flows.data.num_classes == 10
    assert (flows.module.lr, flows.module.betas) == (0.0456, (0.9, 0.99))
    assert flows.module.flows.classes == 10
    assert torch.allclose(flows.module.mean, tables["embed"]["features"].mean(0), atol=1e-6)
    assert run["density"].module is flows.module
    assert run["density"].data is flows.data
    assert run.names == ["simclr", "embed", "flows", "density"]


def test_the_final_training_gets_its_arguments(view: TrainingView, recording: Any, tables: Any, digits: Any) -> None:
    run = recording(embed=tables["embed"], density={"log_density": both_kinds(digits, view.label)})
    outcome = FlowRelabel(**UNUSUAL).cleanse(view, run)
    assert outcome.model is run["classifier"].module
    final, left = run["classifier"], view.with_verdict(outcome.verdict)
    assert final.arguments == {"max_epochs": 17}
    assert torch.equal(final.data.label, left.label)
    assert torch.equal(final.data.rows, left.rows)
    assert len(left) < 200
    assert isinstance(final.module.network, SmallCNN)
    assert (final.module.lr, final.module.momentum, final.module.weight_decay) == (0.35, 0.77, 0.0031)
    assert (final.module.milestones, final.module.gamma) == ((2, 4), 0.63)


def test_the_supervised_encoder_trains_as_long_as_simclr_would(view: TrainingView, recording: Any, tables: Any) -> None:
    run = recording(**tables)
    FlowRelabel(**UNUSUAL, encoder="supervised").cleanse(view, run)
    assert run["supervised"].arguments == {"max_epochs": 11}
    assert isinstance(run["supervised"].module.network, SmallResNet)
    assert torch.equal(run["flows"].data.features, tables["embed"]["features"])


# --- with trained stages ---
def test_withheld_labels_are_left_out(runner: Runner) -> None:
    view = Digits(limit_train=200, batch_size=32, labeled=0.5, seed=0).training_view()
    verdict = FlowRelabel(rule="relative", **SMALL).cleanse(view, runner).verdict
    assert verdict.dropped[~view.labeled].all()
    assert {why for why, given in zip(verdict.reason, view.labeled.tolist(), strict=True) if not given} == {"no label"}


@pytest.mark.parametrize("encoder", ["simclr", "supervised"])
def test_an_encoder_has_a_network_of_its_own(encoder: Any, view: TrainingView, runner: Runner) -> None:
    rows = FlowRelabel(encoder=encoder, encoder_network=partial(SmallResNet, width=8), **SMALL).encode(view, runner)
    assert rows.shape == (200, 32)
    assert rows.isfinite().all()


def test_a_pretrained_encoder_trains_nothing(view: TrainingView, runner: Runner, tmp_path: Path) -> None:
    from torchvision.models import get_model

    torch.save(get_model("squeezenet1_1", num_classes=7).state_dict(), tmp_path / "w.pt")
    made = partial(Pretrained, "squeezenet1_1", str(tmp_path / "w.pt"), size=32)
    recipe = FlowRelabel(encoder="pretrained", pretrained=made, **SMALL)
    rows = recipe.encode(view, runner)
    assert len(rows) == 200
    assert [name for name, _ in runner.stages] == ["embed"]
    (planned,) = recipe.plan_encode(view) or ()
    assert (planned.name, planned.rows, planned.epochs) == ("embed", 200, 0)
    assert isinstance(planned.build(), Pretrained)
    assert planned.data.augment == ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"encoder": "clip"}, "encoder is simclr, autoencoder, supervised, pretrained or an object"),
        ({"rule": "mine"}, "rule is one of paper, relative"),
        ({"alpha_clean": 0.51}, "alpha_clean is between 0 and 0.5"),
        ({"alpha_poison": -0.1}, "alpha_poison is between 0 and 0.5"),
        ({"encoder": "pretrained"}, "belong together"),
        ({"flow_epochs": 0}, "flow_epochs is at least 1, not 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FlowRelabel(**arguments)


@pytest.mark.slow
def test_it_cleanses_the_digits(cleanse: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    """The target class is found and no other; most of its images are dropped, the rest of the poison goes home."""
    done = cleanse(
        "fit", "--config", "flow.yaml", "--config", "quick.yaml", "--config", "attacks/badnets.yaml",
        "--compare", "[none]",
    )  # fmt: skip
    results = json.loads((tmp_path / done.stdout.splitlines()[-1] / "results.json").read_text())
    assert results["none_asr"] > 0.9
    assert results["asr"] <= 0.05
    assert results["sa"] >= results["none_sa"] - 0.05
    assert results["tpr"] >= 0.9
    assert results["relabel_accuracy"] >= 0.85
    assert results["auroc"] > 0.9
    assert "class '0' is flagged: its density covers images of other classes" in done.stderr
    assert done.stderr.count("is flagged: ") == 1


def test_of_many_classes_those_of_lowest_s_nd_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    none = torch.zeros(1000, dtype=torch.bool)
    with caplog.at_level("INFO", logger="cleanse"):
        log_attacked_classes([f"c{i}" for i in range(1000)], torch.arange(1000.0).flip(0), none, none)
    assert "S_ND of the 20 classes where it is lowest" in caplog.messages[0]
    assert "'c980' 19.00" in caplog.messages[0]
    assert "'c979'" not in caplog.messages[0]
