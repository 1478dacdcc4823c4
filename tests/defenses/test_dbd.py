"""DBD (Huang et al. 2022): what each stage gets, what the verdict says, and whether it helps on the digits."""

from functools import partial
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.augment import SimCLRAugment
from cleanse.data import Digits
from cleanse.defenses import DBD, ContrastiveFilter
from cleanse.engine.fingerprint import describe
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.networks import SmallCNN, SmallResNet
from cleanse.views import TrainingView

NETWORK = partial(SmallCNN, width=4)
UNUSUAL: dict[str, Any] = {
    "network": NETWORK, "pretrain_epochs": 3, "pretrain_batch_size": 50, "pretrain_lr": 0.3,
    "pretrain_weight_decay": 0.01, "pretrain_warmup_epochs": 2, "temperature": 0.4, "base_temperature": 0.1,
    "head_epochs": 4, "head_batch_size": 20, "fraction": 0.4, "mixmatch_epochs": 5, "mixmatch_batch_size": 10,
    "iterations": 6, "unlabeled_weight": 7.0, "mixmatch_lr": 0.01, "eval_view": "plain", "momentum": 0.8,
}  # fmt: skip


@pytest.fixture
def train(view: TrainingView) -> TrainingView:
    """200 digits, of which the first ten have no label."""
    return view.with_labels(view.label.masked_fill(torch.arange(200) < 10, -1))


def script(scripted: Any, train: TrainingView) -> Any:
    """MixMatch ends with every second label trusted, and its score is the position."""
    position = torch.arange(200)
    given = train.labeled
    ends = {
        "labeled": (position % 2 == 0) & given,
        "score": position.double().masked_fill(~given, torch.inf),
        "network": NETWORK(1, 10),
    }
    return scripted(lambda fit: ends if fit.name == "mixmatch" else {}, lambda predict: {})


def test_every_argument_reaches_its_stage(scripted: Any, train: TrainingView) -> None:
    run = script(scripted, train)
    recipe = DBD(**UNUSUAL)
    recipe.cleanse(train, run)
    assert run.names == ["simclr", "head", "mixmatch"]
    planned = recipe.plan_verdict(train)
    assert [(stage.name, stage.epochs) for stage in planned] == [("simclr", 3), ("head", 4), ("mixmatch", 5)]
    assert [stage.rows for stage in planned] == [200, 190, 200]
    assert planned[2].work == pytest.approx(5 * (2 * 10 * 6 + 200 / 3))
    assert not recipe.plan_final(train)
    simclr, head, mixmatch = run.calls
    assert [describe(stage.build)["with"]["network"] for stage in planned] == [describe(NETWORK)] * 3

    own = {"temperature": 0.4, "base_temperature": 0.1, "lr": 0.3, "momentum": 0.8, "weight_decay": 0.01}
    assert {name: simclr.built[name] for name in own} == own
    assert simclr.built["warmup_epochs"] == 2
    assert simclr.built["augment"] == describe(train.contrastive_augment)
    assert simclr.trainer == {"max_epochs": 3}
    assert simclr.view.augment == (), "SimCLR makes its own views"
    assert simclr.view.batch_size == 50
    assert len(simclr.view) == 200, "images without a label are images, too"

    shared = {"network": describe(NETWORK), "images": describe(train.image_spec), "lr": 0.01}
    assert head.built == {**shared, "encoder": {"stage": "simclr is call 1"}}
    assert head.trainer == {"max_epochs": 4}
    assert head.view.batch_size == 20
    assert head.view.rows.tolist() == list(range(10, 200))

    own = {"num_rows": 200, "fraction": 0.4, "iterations": 6, "unlabeled_weight": 7.0, "eval_view": "plain"}
    ramp = {"ramp_epochs": 5, "first_epoch": 4}
    mixing = {"views": 2, "temperature": 0.5, "alpha": 0.75}
    assert mixmatch.built == {**shared, **own, **ramp, **mixing, "start": {"stage": "head is call 2"}}
    assert mixmatch.trainer == {"max_epochs": 5, "reload_dataloaders_every_n_epochs": 1}
    assert mixmatch.view.batch_size == 10
    assert mixmatch.view.augment == train.augment


def test_an_augmentation_of_its_own_makes_the_views(scripted: Any, train: TrainingView) -> None:
    run, augment = script(scripted, train), SimCLRAugment(flip=0)
    DBD(**UNUSUAL, contrastive_augment=augment).cleanse(train, run)
    assert run.calls[0].built["augment"] == describe(augment)


def test_the_last_split_is_the_verdict_and_its_network_the_classifier(scripted: Any, train: TrainingView) -> None:
    run = script(scripted, train)
    outcome = DBD(**UNUSUAL).cleanse(train, run)
    verdict, position = outcome.verdict, torch.arange(200)
    assert torch.equal(verdict.kept, (position % 2 == 0) & (position >= 10))
    assert torch.equal(verdict.dropped, ~verdict.kept)
    assert verdict.score[10:].tolist() == position[10:].tolist()
    assert {verdict.reason[i] for i in range(10)} == {"no label"}
    assert {verdict.reason[i] for i in range(10, 200, 2)} == {""}
    assert {verdict.reason[i] for i in range(11, 200, 2)} == {"its label is not trusted"}
    image = torch.rand(2, 1, 8, 8)
    trained = run.calls[2].build  # the network that the script ends with
    assert trained.func.__name__ == "MixMatch"
    assert outcome.model.stage_key == "mixmatch is call 3"
    assert outcome.model(image).shape == (2, 10)


def test_simclr_is_the_same_stage_as_knn_s_where_arguments_agree(scripted: Any, train: TrainingView) -> None:
    shared: dict[str, Any] = {"network": NETWORK, "pretrain_epochs": 3, "pretrain_batch_size": 50, "pretrain_lr": 0.3}
    dbd, knn = script(scripted, train), script(scripted, train)
    DBD(**shared, pretrain_warmup_epochs=10, base_temperature=0.07).cleanse(train, dbd)
    with pytest.raises(AttributeError):  # the script has no embedding
        ContrastiveFilter(**shared).cleanse(train, knn)
    first, second = dbd.calls[0], knn.calls[0]
    assert first.name == second.name
    assert describe(first.build) == describe(second.build)
    assert describe(first.view.spec()) == describe(second.view.spec())
    assert first.trainer == second.trainer


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fraction": 1.0}, "fraction is the share of images that keep their label, between 0 and 1, not 1.0"),
        ({"pretrain_batch_size": 1}, "pretrain_batch_size=1: a contrast needs at least two images"),
        ({"head_epochs": 0}, "head_epochs is at least 1, not 0"),
        ({"mixmatch_epochs": 0}, "mixmatch_epochs is at least 1, not 0"),
        ({"iterations": 0}, "iterations is at least 1, not 0"),
    ],
    ids=["fraction", "pretrain_batch_size", "head_epochs", "mixmatch_epochs", "iterations"],
)
def test_arguments_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DBD(**changed)


def test_data_without_any_label_are_refused(view: TrainingView, runner: Runner) -> None:
    with pytest.raises(ValueError, match=r"no training image has a label.*raise labeled"):
        DBD(**UNUSUAL).cleanse(view.unlabeled(), runner)


@pytest.mark.slow
def test_it_takes_the_backdoor_out_of_the_digits(runner: Runner) -> None:
    """The undefended classifier obeys the trigger, DBD's hardly does; trained so briefly, it knows fewer digits.

    Processors round differently: all of the poison was without its label on one, 89 % on another.
    """
    data = Digits(attack=BadNets(class_rate=0.1), limit_train=700, batch_size=32, augment=[], seed=1)
    recipe = DBD(
        network=partial(SmallResNet, width=16), pretrain_epochs=30, pretrain_batch_size=128, pretrain_lr=0.1,
        base_temperature=0.07, head_batch_size=4, mixmatch_epochs=10, mixmatch_batch_size=32, iterations=32, epochs=15,
    )  # fmt: skip
    results = run_experiment(Setup(recipe, data, runner, compare=["none"], report=False)).results
    assert results["none_asr"] > 0.9
    assert results["asr"] < 0.3
    assert results["sa"] > 0.5
    assert results["kept"] == 350
    assert results["tpr"] > 0.8
