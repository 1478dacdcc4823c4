"""Where clean images come from, and how results say so."""

import json
from functools import partial
from typing import Any

import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import Digits
from cleanse.defenses import CleanImagesDefense, Defense, Outcome
from cleanse.defenses.clean_images import most_certain
from cleanse.engine.runner import Runner
from cleanse.experiments.experiment import Setup, run_experiment
from cleanse.networks import SmallCNN
from cleanse.verdict import Verdict
from cleanse.views import TrainingView


class Judge(Defense):
    """Keeps every second image; the score falls with the position."""

    def cleanse(self, train: TrainingView, run: Runner) -> Outcome:
        position = torch.arange(len(train))
        return Outcome(Verdict.keep_mask(train.id, train.label, position % 2 == 0, -position.float()), self)


class Needs(CleanImagesDefense):
    """Keeps all, and says which images it took."""

    seen: TrainingView

    def cleanse(self, train: TrainingView, run: Runner, reserved: TrainingView | None) -> Outcome:  # type: ignore[override]
        self.seen = self.clean_images(train, run, reserved)
        verdict = Verdict.keep_all(train.id, train.label)
        return Outcome(verdict, partial(self.classify, train, run), clean=self.seen)


def digits(reserve_clean: int | None = None) -> Digits:
    attack = BadNets(class_rate=0.2)
    return Digits(attack=attack, reserve_clean=reserve_clean, limit_train=200, limit_test=30, batch_size=32, seed=0)


def needs(**arguments: Any) -> Needs:
    return Needs(network=SmallCNN, epochs=1, **arguments)


def test_reserved_images_are_handed_over_and_mark_the_results(runner: Runner) -> None:
    data, defense = digits(3), needs()
    experiment = run_experiment(Setup(defense, data, runner, compare=[]))
    reserved = data.reserved_view()
    assert reserved is not None
    assert defense.seen.id == reserved.id
    results = json.loads((experiment.directory / "results.json").read_text())
    assert results["given"] == "clean:3/class"
    assert results["clean_purity"] is None
    assert "taken for clean" not in experiment.summary
    assert "Needs (clean:3/class)" in experiment.table
    assert "told more than images and labels: clean:3/class" in (experiment.directory / "report.html").read_text()


def test_certain_ones_are_nothing_given_and_their_purity_is_measured(runner: Runner) -> None:
    data, defense = digits(), needs(clean="certain", clean_per_class=2, certain_by=Judge)
    experiment = run_experiment(Setup(defense, data, runner, compare=[], report=False))
    assert experiment.results["given"] is None
    assert defense.seen.label.bincount(minlength=10).tolist() == [2] * 10
    purity = 1 - float(data.truth.poisoned[defense.seen.rows].double().mean())
    assert 0 < purity < 1, "else the sentence may be a constant"
    assert experiment.results["clean_purity"] == pytest.approx(purity)
    sentence = f"{purity:.1%} of the training images that were taken for clean are not poisoned"
    assert sentence in experiment.summary


def test_how_many_there_will_be_is_known_beforehand() -> None:
    assert needs().most_clean_images(digits(3).training_view()) == 30
    assert needs(clean="certain", clean_per_class=2).most_clean_images(digits().training_view()) == 20


def test_a_recipe_that_needs_none_is_not_marked(runner: Runner) -> None:
    experiment = run_experiment(Setup(Judge(network=SmallCNN), digits(3), runner, compare=[], verdict_only=True))
    assert experiment.results["given"] is None


def test_without_any_it_says_how_to_come_by_them(runner: Runner) -> None:
    with pytest.raises(ValueError, match=r"--data.reserve_clean 10.*--model.clean certain"):
        run_experiment(Setup(needs(), digits(), runner, compare=[]))


def test_the_most_certain_are_the_kept_ones_of_lowest_score() -> None:
    train = digits().training_view()
    keep = torch.arange(200) % 3 > 0
    score = torch.arange(200).float().flip(0)
    chosen = most_certain(train, Verdict.keep_mask(train.id, train.label, keep, score), 2)
    for c in range(10):
        expected = [row for row in range(200) if keep[row] and train.label[row] == c][-2:]
        assert chosen.rows[chosen.label == c].tolist() == expected


def test_more_than_are_kept_is_refused() -> None:
    train = digits().training_view()
    verdict = Verdict.keep_mask(train.id, train.label, train.label != 4)
    with pytest.raises(ValueError, match=r"only 0 images of class '4' are kept .* them: set clean images aside"):
        most_certain(train, verdict, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"clean": "some"}, "clean is one of reserved, certain"),
        ({"clean_per_class": 0}, "clean_per_class is at least 1"),
    ],
    ids=["clean", "clean_per_class"],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        needs(**arguments)
