"""ASD (Gao et al. 2023): which images are its seeds, what its training gets, and whether it helps on the digits."""

from functools import partial
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.defenses import ASD, Defense, Outcome
from cleanse.engine.fingerprint import describe
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.networks import SmallCNN, SmallResNet
from cleanse.verdict import Verdict
from cleanse.views import TrainingView

NETWORK = partial(SmallCNN, width=4)
UNUSUAL: dict[str, Any] = {
    "network": NETWORK, "virtual_layers": ["head"], "mixmatch_epochs": 7, "by_class_epochs": 2, "grow_every": 3,
    "grow_by": 4, "meta_from": 5, "fraction": 0.4, "mixmatch_batch_size": 10, "iterations": 6, "unlabeled_weight": 7.0,
    "mixmatch_lr": 0.01, "virtual_lr": 0.02, "virtual_batch_size": 11, "eval_view": "plain",
}  # fmt: skip


class LastOfEach(Defense):
    """Keeps all; the later an image, the less it is suspected."""

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        score = -torch.arange(len(train)).float()
        return Outcome(Verdict.keep_mask(train.id, train.label, torch.ones(len(train)).bool(), score), self)


def digits(reserve_clean: int | None = 2, **arguments: Any) -> Digits:
    return Digits(**{"limit_train": 200, "reserve_clean": reserve_clean, "batch_size": 32, "seed": 0, **arguments})


def script(scripted: Any, n: int) -> Any:
    """The training ends with every second label trusted, and its score is the position."""
    position = torch.arange(n)
    ends = {"labeled": position % 2 == 0, "score": position.double(), "network": NETWORK(1, 10)}
    return scripted(lambda fit: ends, lambda predict: {})


def test_every_argument_reaches_the_training(scripted: Any) -> None:
    data, run = digits(), script(scripted, 200)
    train = data.training_view()
    recipe = ASD(**UNUSUAL)
    recipe.cleanse(train, run, data.reserved_view())
    assert run.names == ["adaptive_split"]
    planned = recipe.plan_verdict(train)
    assert planned is not None
    assert [(stage.name, stage.epochs, stage.rows) for stage in planned] == [("adaptive_split", 7, 200)]
    # an epoch: 6 batches of 10 labeled and 10 other images, the losses of all; from the fifth a copy learns all, too
    assert planned[0].work == pytest.approx(7 * (2 * 10 * 6 + 200 / 3) + 2 * (1 + 1 / 3) * 200)
    without = ASD(**{**UNUSUAL, "meta_from": 9}).plan_verdict(train)
    assert without is not None
    assert without[0].work == pytest.approx(7 * (120 + 200 / 3))
    assert not recipe.plan_final(train)
    (fit,) = run.calls
    same = {"virtual_layers", "by_class_epochs", "grow_every", "grow_by", "meta_from", "virtual_lr"}
    same |= {"virtual_batch_size", "fraction", "iterations", "unlabeled_weight", "eval_view"}
    assert {name: fit.built[name] for name in same} == {name: UNUSUAL[name] for name in same}
    assert fit.built["network"] == describe(NETWORK)
    assert fit.built["images"] == describe(train.image_spec)
    assert fit.built["lr"] == 0.01
    assert fit.built["ramp_epochs"] == 7
    assert fit.built["first_epoch"] == 0
    assert fit.built["start"] is None
    assert fit.trainer == {"max_epochs": 7, "reload_dataloaders_every_n_epochs": 1}
    assert fit.view.batch_size == 10
    assert fit.view.augment == train.augment


def test_images_set_aside_are_further_rows_and_not_in_the_verdict(scripted: Any) -> None:
    data, run = digits(), script(scripted, 200)
    train, reserved = data.training_view(), data.reserved_view()
    assert reserved is not None
    outcome = ASD(**UNUSUAL).cleanse(train, run, reserved)
    (fit,) = run.calls
    assert len(train) == 180
    assert fit.view.id == train.id + reserved.id
    assert fit.view.label.tolist() == train.label.tolist() + reserved.label.tolist()
    assert fit.built["num_rows"] == 200
    assert fit.built["seeds"] == describe(torch.arange(180, 200))
    verdict = outcome.verdict
    assert verdict.id == train.id
    assert torch.equal(verdict.kept, torch.arange(180) % 2 == 0)
    assert verdict.score.tolist() == list(range(180))
    assert set(verdict.reason) == {"", "its label is not trusted"}
    assert outcome.clean is reserved
    assert outcome.model.stage_key == "adaptive_split is call 1"


def test_certain_images_are_seeds_among_the_others(scripted: Any) -> None:
    train, run = digits(None).training_view(), script(scripted, 200)
    recipe = ASD(**UNUSUAL, clean="certain", clean_per_class=3, certain_by=LastOfEach)
    outcome = recipe.cleanse(train, run, None)
    (fit,) = run.calls
    last = torch.cat([(train.label == c).nonzero().flatten()[-3:] for c in range(10)]).sort().values
    assert fit.view.id == train.id
    assert fit.built["seeds"] == describe(last)
    assert outcome.clean is not None
    assert outcome.clean.rows.tolist() == train.rows[last].tolist()


def test_it_says_what_it_is_given() -> None:
    assert ASD().given(10) == ("clean:10/class",)
    assert ASD(clean="certain").given() == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"fraction": 1.0}, "fraction is the share of images that keep their label, between 0 and 1, not 1.0"),
        ({"by_class_epochs": 91}, r"by_class_epochs is a number of epochs, 0 to meta_from \(90\), not 91"),
        ({"mixmatch_epochs": 0}, "mixmatch_epochs is at least 1, not 0"),
        ({"iterations": 0}, "iterations is at least 1, not 0"),
        ({"clean_per_class": 0}, "clean_per_class is at least 1, not 0"),
    ],
    ids=["fraction", "by_class_epochs", "mixmatch_epochs", "iterations", "clean_per_class"],
)
def test_arguments_out_of_range_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ASD(**changed)


def test_the_copy_may_begin_when_classes_end() -> None:
    assert ASD(by_class_epochs=90, meta_from=90).by_class_epochs == 90


def test_a_network_without_the_layers_is_refused_in_a_sentence(runner: Runner) -> None:
    data = digits()
    recipe = ASD(network=SmallCNN, mixmatch_epochs=1, iterations=1)
    with pytest.raises(
        ValueError, match=r"virtual_layers names 'body\.layer3', which SmallCNN does not have: name some"
    ):
        recipe.cleanse(data.training_view(), runner, data.reserved_view())


def test_without_clean_images_it_says_how_to_come_by_them(runner: Runner) -> None:
    with pytest.raises(ValueError, match=r"ASD needs clean images.*--data\.reserve_clean 10.*--model\.clean certain"):
        ASD(**UNUSUAL).cleanse(digits(None).training_view(), runner, None)


@pytest.mark.slow
def test_it_takes_the_backdoor_out_of_the_digits(runner: Runner) -> None:
    """The undefended classifier obeys the trigger, ASD's does not."""
    data = digits(8, attack=BadNets(class_rate=0.1), limit_train=700, augment=[], seed=1)
    recipe = ASD(
        network=partial(SmallResNet, width=8), virtual_layers=["body.2", "head"], mixmatch_epochs=20,
        by_class_epochs=12, grow_every=2, grow_by=4, meta_from=17, mixmatch_batch_size=32, iterations=32,
        virtual_batch_size=32, epochs=15,
    )  # fmt: skip
    results = run_experiment(Setup(recipe, data, runner, compare=["none"], report=False)).results
    assert results["none_asr"] > 0.9
    assert results["asr"] < 0.1
    assert results["sa"] > 0.8
    assert results["given"] == "clean:8/class"
