"""The defender never sees the answer (DESIGN section 2; SPEC C1, A-T9)."""

import gc
from pathlib import Path
from types import FrameType, FunctionType, ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from cleanse.attacks import Attack, BadNets
from cleanse.data import Digits
from cleanse.data.base import ImageDataModule, Truth
from cleanse.defenses import (
    ISPL,
    ContrastiveFilter,
    Defense,
    FlowRelabel,
    NoDefense,
    Oracle,
    SelfTraining,
    SimCLRSelfTraining,
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
        min_active=0,
        **SMALL,
    ),
    "none": NoDefense(**SMALL),
    "knn": ContrastiveFilter(pretrain_epochs=2, pretrain_batch_size=100, pretrain_lr=0.1, probe_epochs=1, **SMALL),
    "energy": ContrastiveFilter(
        method="energy", pretrain_epochs=2, pretrain_batch_size=100, pretrain_lr=0.1, probe_epochs=1, **SMALL
    ),
    "self_training": SelfTraining(augmentation="RCS0.625", teacher_epochs=1, iteration_epochs=1, **SMALL),
    "simclr_self_training": SimCLRSelfTraining(
        encoder=SmallCNN, pretrain_epochs=1, pretrain_batch_size=100, teacher_epochs=1, iteration_epochs=1, **SMALL
    ),
    "flow": FlowRelabel(rule="relative", pretrain_epochs=2, pretrain_batch_size=100, flow_epochs=1, **SMALL),
}


def poisoned_digits() -> Digits:
    return Digits(attack=BadNets(class_rate=0.1), limit_train=200, limit_test=20, batch_size=32, seed=0)


@pytest.mark.parametrize("name", RECIPES)
def test_the_verdict_does_not_depend_on_the_truth(name: str, tmp_path: Path) -> None:
    """Shuffle the ground truth: the verdict stays the same, bit for bit."""
    verdicts = []
    for shuffled in (False, True):
        data = poisoned_digits()
        view = data.training_view()
        if shuffled:
            order = torch.randperm(200, generator=torch.Generator().manual_seed(9))
            data.truth = Truth(data.truth.true_label[order], data.truth.role[order])
        run = Runner(tmp_path / str(shuffled), arguments={"accelerator": "cpu", "devices": 1})
        verdicts.append(RECIPES[name].cleanse(view, run).verdict)
    first, second = verdicts
    assert first.hash() == second.hash() and torch.equal(first.score, second.score) and first.reason == second.reason


def test_nothing_that_a_view_leads_to_knows_the_answer() -> None:
    """Follow every reference from the view: no attack, no truth, no data module, no roles, no true labels."""
    data = poisoned_digits()
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
    assert view.source in found  # the walk does walk
    assert not [x for x in found if isinstance(x, (Attack, Truth, ImageDataModule))]
    tensors = [x for x in found if isinstance(x, Tensor) and x.shape == (200,)]
    assert tensors and not any(torch.equal(t.long(), data.truth.role.long()) for t in tensors)
    assert not any(torch.equal(t.long(), data.truth.true_label) for t in tensors)


def test_withheld_labels_do_not_exist_in_a_view() -> None:
    data = Digits(attack=BadNets(class_rate=0.1), limit_train=200, labeled=0.2, seed=0)
    view = data.training_view()
    assert view.labeled.sum() == 40 and (view.label[~view.labeled] == -1).all()
    assert (view.unlabeled().label == -1).all()
    assert (view.batch(torch.arange(200), augmented=False)["label"] == view.label).all()


def test_only_the_oracle_gets_the_truth_and_says_so(runner: Runner) -> None:
    import inspect

    from cleanse.defenses import OracleDefense

    assert "truth" in inspect.signature(Oracle.cleanse).parameters
    for recipe in (ISPL, NoDefense, ContrastiveFilter, FlowRelabel, SelfTraining, SimCLRSelfTraining):
        assert list(inspect.signature(recipe.cleanse).parameters) == ["self", "train", "run"]
        assert not issubclass(recipe, OracleDefense)
    data = poisoned_digits()
    verdict = Oracle(**SMALL).cleanse(data.training_view(), runner, data.truth).verdict
    assert torch.equal(verdict.dropped, data.truth.poisoned)
