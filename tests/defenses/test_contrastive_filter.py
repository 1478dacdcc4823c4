"""kNN and energy cleansing (paper 002)."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.augment import SimCLRAugment
from cleanse.data import Digits
from cleanse.defenses import ContrastiveFilter
from cleanse.engine.runner import Runner
from cleanse.functional import energy_vote, knn_vote, margin, relabel_confident
from cleanse.networks import SmallCNN
from cleanse.views import TrainingView

SMALL: dict[str, Any] = {
    "network": partial(SmallCNN, width=8), "pretrain_epochs": 2, "pretrain_batch_size": 100, "pretrain_lr": 0.1,
    "epochs": 1, "probe_epochs": 1, "ablation_epochs": 2,
}  # fmt: skip


def blobs(n: int = 300, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Embeddings in well separated blobs; a twentieth of class 0 has the label 1 (C-T7)."""
    generator = torch.Generator().manual_seed(0)
    true = torch.arange(n) % classes
    z = 4 * torch.eye(classes, 8)[true] + torch.randn(n, 8, generator=generator)
    given = true.clone()
    moved = (true == 0).nonzero().flatten()[: n // 60]
    given[moved] = 1
    return z, given, true


@pytest.mark.parametrize("method", ["knn", "energy", "knn_energy"])
def test_planted_poison_is_rejected(method: Any) -> None:
    z, given, true = blobs()
    found, score = ContrastiveFilter(method=method, k=20, **SMALL).judge(z, given)
    poison = given != true
    assert (~found.accepted[poison]).float().mean() >= 0.95 and found.accepted[~poison].float().mean() > 0.9
    assert (found.label[poison & found.relabeled] == 0).all()
    assert score[poison].min() > score[~poison].quantile(0.95)  # the score orders them too


def test_the_methods_are_the_functions() -> None:
    z, given, _ = blobs()
    knn, energy = (ContrastiveFilter(method=m, **SMALL).judge(z, given)[0] for m in ("knn", "energy"))  # type: ignore[arg-type]
    assert torch.equal(knn.label, relabel_confident(given, *knn_vote(z, given)).label)
    assert torch.equal(energy.label, relabel_confident(given, *energy_vote(z, given, 0.5)).label)
    both = ContrastiveFilter(method="knn_energy", **SMALL).judge(z, given)[0]
    assert torch.equal(both.accepted, knn.accepted & energy.accepted)


@pytest.mark.parametrize(
    ("filter", "relabel", "kept", "relabeled", "dropped"),
    [(True, True, 5, 2, 3), (True, False, 5, 0, 5), (False, True, 8, 2, 0), (False, False, 10, 0, 0)],
)
def test_the_ablation_of_table_3(
    view: TrainingView, filter: bool, relabel: bool, kept: int, relabeled: int, dropped: int
) -> None:
    """Ten images, of which five are accepted and two of the others relabeled."""
    ten = view.subset(torch.arange(200) < 10)
    prediction = torch.where(torch.arange(10) < 5, ten.label, (ten.label + 1) % 10)
    confidence = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.9, 0.9, 0.1, 0.1, 0.1])
    found = relabel_confident(ten.label, prediction, confidence)
    recipe = ContrastiveFilter(filter=filter, relabel=relabel, **SMALL)
    verdict = recipe._verdict(ten, ten.labeled, found, torch.zeros(10))
    assert verdict.counts() == {"kept": kept, "relabeled": relabeled, "dropped": dropped}
    assert torch.equal(verdict.new_label[verdict.relabeled], prediction[verdict.relabeled])


@pytest.mark.parametrize("encoder", ["simclr", "autoencoder", "supervised"])
def test_every_encoder_gives_a_row_for_every_image(encoder: Any, view: TrainingView, runner: Runner) -> None:
    embedding = ContrastiveFilter(encoder=encoder, **SMALL).embed(view, runner)
    assert embedding.shape[0] == 200 and embedding.isfinite().all()


def test_withheld_labels_are_left_out(runner: Runner) -> None:
    train = Digits(attack=BadNets(class_rate=0.1), limit_train=300, labeled=0.5, batch_size=32, seed=0).training_view()
    verdict = ContrastiveFilter(**SMALL).cleanse(train, runner).verdict
    assert verdict.dropped[~train.labeled].all() and not verdict.dropped[train.labeled].all()
    assert {r for r, given in zip(verdict.reason, train.labeled.tolist(), strict=True) if not given} == {"no label"}


def test_two_recipes_train_simclr_once(runner: Runner) -> None:
    train = Digits(attack=BadNets(class_rate=0.1), limit_train=200, batch_size=32, seed=0).training_view()
    for method in ("knn", "energy", "knn_energy"):
        ContrastiveFilter(method=method, **SMALL).cleanse(train, runner)  # type: ignore[arg-type]
    names = [name for name, _ in runner.stages]
    assert names.count("simclr") == 3 and len({path for name, path in runner.stages if name == "simclr"}) == 1
    assert runner.computed < len(names)


def test_unequal_classes_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    z, given, _ = blobs()
    rows = (given != 2) | (torch.arange(300) < 60)
    import logging

    logging.getLogger("cleanse").propagate = True
    with caplog.at_level("WARNING", logger="cleanse"):
        ContrastiveFilter(k=5, **SMALL).judge(z[rows], given[rows])
    assert "favor the large ones" in caplog.text


def test_margin_is_positive_exactly_where_another_class_wins() -> None:
    scores = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    label = torch.arange(50) % 4
    assert torch.equal(margin(scores, label) > 0, scores.argmax(1) != label)
    scores[3] = torch.tensor([0.1, 0.2, 0.3, -torch.inf])  # its own class does not exist without it
    assert margin(scores, label).isfinite().all() and margin(scores, label)[3] == margin(scores, label).max()
    with pytest.raises(ValueError, match="C > 1"):
        margin(torch.ones(3, 1), torch.zeros(3, dtype=torch.int64))


def test_bad_input(view: TrainingView, runner: Runner) -> None:
    z, given, _ = blobs()
    with pytest.raises(ValueError, match="method is one of"):
        ContrastiveFilter(method="dbd")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least two images"):
        ContrastiveFilter(pretrain_batch_size=1)
    with pytest.raises(ValueError, match="k is between 1 and 299"):
        ContrastiveFilter(k=300, **SMALL).judge(z, given)
    with pytest.raises(ValueError, match="none of the 300 predictions"):
        ContrastiveFilter(k=1, **SMALL).judge(torch.eye(150)[torch.arange(300) % 150], torch.arange(300) // 150)
    with pytest.raises(ValueError, match="diverged"):
        ContrastiveFilter(**{**SMALL, "pretrain_lr": 1e20, "pretrain_epochs": 12}).cleanse(view, runner)


def test_alone_in_its_class_an_image_is_not_accepted() -> None:
    z, given, _ = blobs()
    given = given.clone()
    given[7] = 3
    for method in ("knn", "energy"):
        found, score = ContrastiveFilter(method=method, k=20, **SMALL).judge(z, given)  # type: ignore[arg-type]
        assert not found.accepted[7] and score.isfinite().all()


@pytest.mark.slow
def test_it_cleanses_the_digits(cleanse: Callable[..., "CompletedProcess[str]"], tmp_path: Path) -> None:
    """What the README promises, for real: the attack works without the defense and does not with it, SA is kept.

    Half of quick.yaml's epochs, to be quicker. Energy finds kNN's encoder and comparisons on disk.
    """
    found = {}
    for recipe in ("knn", "energy"):
        done = cleanse(
            "fit", "--config", f"{recipe}.yaml", "--config", "quick.yaml", "--config", "attacks/blend.yaml",
            "--model.pretrain_epochs", "100", "--model.epochs", "30",
        )  # fmt: skip
        found[recipe] = json.loads((tmp_path / done.stdout.splitlines()[-1] / "results.json").read_text())
    for results in found.values():
        assert results["none_asr"] > 0.9 and results["asr"] < 0.05
        assert results["sa"] > results["oracle_sa"] - 0.03
        assert results["tpr"] > 0.95
    assert (
        len(list((tmp_path / "runs").glob("simclr-*"))) == 1 and found["energy"]["none_sa"] == found["knn"]["none_sa"]
    )


def test_the_augmentation_can_be_chosen(view: TrainingView) -> None:
    own = SimCLRAugment(flip=0)
    assert ContrastiveFilter(contrastive_augment=own, **SMALL)._augment(view) is own
    assert ContrastiveFilter(**SMALL)._augment(view) is view.contrastive_augment
