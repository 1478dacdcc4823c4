"""ISPL sold as it is: the attack works without it and not with it, accuracy kept; both profiles; labels withheld."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch

from cleanse.attacks import DirtyLabel
from cleanse.data import Digits
from cleanse.defenses import ISPL
from cleanse.engine.runner import Runner
from cleanse.networks import SmallCNN

Cleanse = Callable[..., "CompletedProcess[str]"]


@pytest.mark.slow
def test_ispl_removes_the_backdoor_from_the_digits(cleanse: Cleanse, tmp_path: Path) -> None:
    """The paper's kind of attack and settings, trained for real: 8 -> 6, 20 % of the source class."""
    done = cleanse(
        "fit",
        "--config",
        "ispl.yaml",
        "--config",
        "quick.yaml",
        "--data.attack.source",
        "8",
        "--data.attack.target",
        "6",
    )
    results = json.loads((tmp_path / done.stdout.splitlines()[-1] / "results.json").read_text())
    assert results["none_asr"] > 0.9 and results["none_tmr"] > 0.9, results
    assert results["asr"] <= 0.1 and results["tmr"] <= 0.1, results
    assert results["sa"] >= results["oracle_sa"] - 0.03, results
    assert results["tpr"] >= 0.8 and results["fpr"] <= 0.05 and results["auroc"] >= 0.9, results
    assert results["oracle_asr"] <= 0.1, results


SHORT: dict[str, Any] = {"network": SmallCNN, "passes": 1, "rounds": 2, "self_training_epochs": 1, "epochs": 1}


def digits(**changed: Any) -> Digits:
    attack = DirtyLabel(shape="L", class_rate=0.2)
    return Digits(attack=attack, **{"limit_train": 200, "batch_size": 16, "augment": [], "seed": 0, **changed})


def test_v1_self_training_only_adds(runner: Runner) -> None:
    """A-T8: what the vote kept stays kept."""
    view = digits().training_view()
    defense = ISPL(**SHORT)
    keep = torch.arange(200) % 2 == 0
    added = defense._add_back(keep, view, runner)
    assert (added | ~keep).all() and added.sum() >= keep.sum()


def test_iclr23_goes_on_with_one_network_and_a_new_optimizer(runner: Runner) -> None:
    view = digits().training_view()
    ISPL(profile="iclr23", **{**SHORT, "min_active": 0})._exchange(torch.ones(200, dtype=torch.bool), view, runner)
    names = [name for name, _ in runner.stages]
    assert names == [f"{kind}-{i}" for i in range(1, 21) for kind in ("self_training", "agreement")]
    records = [json.loads((d / "stage.json").read_text()) for n, d in runner.stages if n.startswith("self")]
    assert records[1]["fit"]["with"]["start"] == {"stage": records[0]["key"]}  # the parent's key is part of the child's


def test_the_stages_it_announces_are_the_stages_it_runs(runner: Runner) -> None:
    defense = ISPL(**SHORT)
    defense.cleanse(digits().training_view(), runner)
    assert len(runner.stages) == defense.stages() == 2 * 2 + 2 + 1


def test_rows_without_a_label_are_dropped_and_say_so(runner: Runner) -> None:
    view = digits(labeled=0.5).training_view()
    verdict = ISPL(**SHORT).cleanse(view, runner).verdict
    assert verdict.dropped[~view.labeled].all()
    assert {verdict.reason[i] for i in (~view.labeled).nonzero().flatten().tolist()} == {"no label"}


def test_the_reason_says_how_many_voters_object(runner: Runner) -> None:
    verdict = ISPL(**SHORT).cleanse(digits().training_view(), runner).verdict
    row = int(verdict.dropped.nonzero()[0])
    assert verdict.reason[row] == f"{round(float(verdict.score[row]) * 2)} of 2 voters against its label"
    assert not verdict.relabeled.any()


@pytest.mark.parametrize(
    "wrong",
    [{"passes": 0}, {"rounds": 0}, {"expansion": 0.0}, {"expansion": 1.5}, {"momentum_loss": 1.0}, {"profile": "v2"}],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ISPL(**wrong)


@pytest.mark.parametrize(("profile", "n", "expected"), [("v1", 50_000, (2, 100)), ("iclr23", 50_000, (8, 200))])
def test_the_profiles_are_the_paper_s_and_the_code_s(profile: Any, n: int, expected: tuple[int, int]) -> None:
    """SPEC A.2's table."""
    defense = ISPL(profile=profile)
    assert (defense.epochs_per_iteration[0], defense.epochs) == expected
    assert (defense.passes, defense.rounds, defense.expansion, defense.momentum_loss) == (3, 8, 0.25, 0.9)
    assert (defense.lr, defense.momentum, defense.weight_decay) == (0.02, 0.9, 5e-4)
    assert defense.milestones == ((75, 90) if profile == "v1" else (100, 150, 180))


def test_a_set_too_small_for_the_code_s_profile_is_a_sentence(runner: Runner) -> None:
    with pytest.raises(ValueError, match="min_active=2000 stops before the first round: there are only 200 images"):
        ISPL(profile="iclr23", **SHORT).cleanse(digits().training_view(), runner)
