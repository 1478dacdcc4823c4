"""The defender never sees the answer."""

import gc
import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import Attack, BadNets
from cleanse.attacks.base import Poisoned
from cleanse.data import Digits
from cleanse.data.base import ImageDataModule, Images, Truth
from cleanse.defenses import (
    ABL,
    ASD,
    DBD,
    ISPL,
    NAD,
    ActivationClustering,
    CleanImagesDefense,
    ContrastiveFilter,
    Defense,
    FlowRelabel,
    NoDefense,
    Oracle,
    OracleDefense,
    SelfTraining,
    SemiSupervised,
    SimCLRSelfTraining,
    SpectralSignatures,
)
from cleanse.engine.runner import Runner
from cleanse.networks import SmallCNN

SMALL: dict[str, Any] = {"network": SmallCNN, "epochs": 1}
RECIPES: dict[str, Defense] = {
    "ispl": ISPL(passes=1, rounds=2, self_training_epochs=1, **SMALL),
    "iclr23": ISPL(
        passes=1,
        rounds=2,
        profile="iclr23",
        epochs_per_iteration=(2, 1),
        voter_epochs=8,
        self_training_epochs=1,
        **SMALL,
    ),
    "activation_clustering": ActivationClustering(rule="smaller", reclassify=1.0, **SMALL),
    "spectral_signatures": SpectralSignatures(**SMALL),
    "abl": ABL(isolation_epochs=1, tune_epochs=1, unlearn_epochs=1, isolation_lr=0.02, **SMALL),
    "none": NoDefense(**SMALL),
    "knn": ContrastiveFilter(pretrain_epochs=2, pretrain_batch_size=100, pretrain_lr=0.1, probe_epochs=1, **SMALL),
    "energy": ContrastiveFilter(
        method="energy", pretrain_epochs=2, pretrain_batch_size=100, pretrain_lr=0.1, probe_epochs=1, **SMALL
    ),
    "self_training": SelfTraining(augmentation="RCS0.625", teacher_epochs=1, iteration_epochs=1, **SMALL),
    "semi_supervised": SemiSupervised(teacher_epochs=1, iteration_epochs=1, **SMALL),
    "simclr_self_training": SimCLRSelfTraining(
        encoder=SmallCNN, pretrain_epochs=1, pretrain_batch_size=100, teacher_epochs=1, iteration_epochs=1, **SMALL
    ),
    "asd": ASD(
        virtual_layers=["head"],
        mixmatch_epochs=3,
        by_class_epochs=1,
        meta_from=2,
        mixmatch_batch_size=16,
        iterations=4,
        clean="certain",
        clean_per_class=2,
        certain_by=partial(ContrastiveFilter, method="none", **SMALL),
        **SMALL,
    ),
    "dbd": DBD(
        pretrain_epochs=1,
        pretrain_batch_size=100,
        head_epochs=1,
        mixmatch_epochs=2,
        mixmatch_batch_size=16,
        iterations=4,
        **SMALL,
    ),
    "flow": FlowRelabel(rule="relative", pretrain_epochs=2, pretrain_batch_size=100, flow_epochs=1, **SMALL),
}


class Planted(BadNets):
    """Poisons as `BadNets` does, or as it is told to."""

    planted: Poisoned | None = None

    def poison(self, *args: Any, **kwargs: Any) -> Poisoned:
        made = super().poison(*args, **kwargs)
        return made if self.planted is None else self.planted


class World(Digits):
    """Digits whose true labels can be exchanged."""

    order: Tensor | None = None

    def chosen(self) -> Images:
        images = super().chosen()
        return images if self.order is None else replace(images, label=images.label[self.order])


def world(order: Tensor | None = None, planted: Poisoned | None = None) -> World:
    """200 poisoned digits; with an order, the same images and given labels, of which another truth is true."""
    attack = Planted(class_rate=0.1)
    attack.planted = planted
    data = World(attack=attack, limit_train=200, limit_test=20, batch_size=32, seed=0)
    data.order = order
    return data


@pytest.mark.parametrize("name", RECIPES)
def test_the_verdict_does_not_depend_on_the_truth(name: str, tmp_path: Path) -> None:
    """Two worlds with the same images and given labels: other images are poisoned, and other labels true."""
    first = world()
    train = first.training_view()
    order = torch.randperm(200, generator=torch.Generator().manual_seed(9))
    true_label, role = first.truth.true_label[order], first.truth.role[order]
    planted = Poisoned(train.source.image.clone(), train.label.clone(), true_label, role)
    second = world(order, planted)
    verdicts = []
    for data in (first, second):
        view = data.training_view()
        assert torch.equal(view.source.image, train.source.image)
        assert torch.equal(view.label, train.label)
        run = Runner(tmp_path / str(len(verdicts)), arguments={"accelerator": "cpu", "devices": 1})
        recipe = RECIPES[name]
        given = (None,) if isinstance(recipe, CleanImagesDefense) else ()
        verdicts.append(recipe.cleanse(view, run, *given).verdict)
    assert not torch.equal(first.truth.poisoned, second.truth.poisoned)
    assert not torch.equal(first.truth.true_label, second.truth.true_label)
    assert verdicts[0].hash() == verdicts[1].hash()
    assert torch.equal(verdicts[0].score, verdicts[1].score)
    assert verdicts[0].reason == verdicts[1].reason


def test_nothing_that_a_view_leads_to_knows_the_answer() -> None:
    """Follow every reference from the view: no attack, no truth, no data module, no roles, no true labels."""
    data = world()
    view = data.training_view()
    data.clean_test()
    seen: dict[int, Any] = {}
    todo: list[Any] = [view, view.unlabeled(), view.subset(view.labeled)]
    while todo:
        here = todo.pop()
        if id(here) in seen or isinstance(here, (type, ModuleType, FunctionType, FrameType)):
            continue
        seen[id(here)] = here
        todo += [x for x in gc.get_referents(here) if not isinstance(x, (type, ModuleType, FunctionType, FrameType))]
    found = list(seen.values())
    assert view.source in found, "the walk does walk"
    assert not [x for x in found if isinstance(x, (Attack, Truth, ImageDataModule))]
    tensors = [x for x in found if isinstance(x, Tensor) and x.shape == (200,)]
    assert tensors
    assert not any(torch.equal(t.long(), data.truth.role.long()) for t in tensors)
    assert not any(torch.equal(t.long(), data.truth.true_label) for t in tensors)


def test_withheld_labels_do_not_exist_in_a_view() -> None:
    data = Digits(attack=BadNets(class_rate=0.1), limit_train=200, labeled=0.2, seed=0)
    view = data.training_view()
    assert view.labeled.sum() == 40
    assert (view.label[~view.labeled] == -1).all()
    assert (view.unlabeled().label == -1).all()
    assert (view.batch(torch.arange(200), augmented=False)["label"] == view.label).all()


def test_only_the_oracle_gets_the_truth_and_says_so(runner: Runner) -> None:
    assert "truth" in inspect.signature(Oracle.cleanse).parameters
    for recipe in (
        ABL,
        ActivationClustering,
        SpectralSignatures,
        DBD,
        ISPL,
        NoDefense,
        ContrastiveFilter,
        FlowRelabel,
        SelfTraining,
        SemiSupervised,
        SimCLRSelfTraining,
    ):
        assert list(inspect.signature(recipe.cleanse).parameters) == ["self", "train", "run"]
        assert not issubclass(recipe, OracleDefense)
    for recipe in (ASD, NAD):
        assert list(inspect.signature(recipe.cleanse).parameters) == ["self", "train", "run", "reserved"]
    data = world()
    verdict = Oracle(**SMALL).cleanse(data.training_view(), runner, data.truth).verdict
    assert torch.equal(verdict.dropped, data.truth.poisoned)
