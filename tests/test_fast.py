"""fast.yaml: what it sets for which recipe and data, and every recipe with it from end to end at tiny size."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cleanse.attacks.base import build_for
from cleanse.data import Digits
from cleanse.data.base import ImageDataModule, Images
from cleanse.defenses import ContrastiveFilter
from cleanse.experiments.build import build
from cleanse.experiments.experiment import Experiment, run_experiment
from cleanse.networks import FastNet
from cleanse.views import TrainingView

CLASSIFIERS = ("none.yaml", "oracle.yaml", "knn.yaml", "energy.yaml", "knn_energy.yaml", "flow.yaml", "check.yaml")
SHORT: dict[str, dict[str, Any]] = {
    "flow.yaml": {"model.flow_epochs": 1},
    "ispl.yaml": {
        "model.passes": 1, "model.rounds": 2, "model.self_training_epochs": 1, "model.voter_epochs": 1,
        "model.epochs_per_iteration": [1, 1],
    },
    "abl.yaml": {"model.isolation_epochs": 1, "model.tune_epochs": 1, "model.isolation": 0.1},
    "nad.yaml": {
        "data.reserve_clean": 1, "model.teacher_epochs": 1, "model.distill_epochs": 1, "model.distill_batch_size": 8
    },
    "dbd.yaml": {
        "model.pretrain_epochs": 1, "model.pretrain_batch_size": 16, "model.head_epochs": 1,
        "model.mixmatch_epochs": 1, "model.mixmatch_batch_size": 8, "model.iterations": 2,
    },
    "asd.yaml": {
        "data.reserve_clean": 1, "model.mixmatch_epochs": 2, "model.by_class_epochs": 1, "model.meta_from": 1,
        "model.mixmatch_batch_size": 8, "model.iterations": 2,
    },
    "self_training.yaml": {"model.teacher_epochs": 1, "model.iteration_epochs": 1, "model.iterations": 2},
}  # fmt: skip
RATE = {"size": 3, "target": 0, "class_rate": 0.2, "poison_rate": None, "count": None}
BASELINES = ("activation_clustering.yaml", "spectral_signatures.yaml", "abl.yaml", "nad.yaml", "dbd.yaml", "asd.yaml")
RECIPES = (*CLASSIFIERS, *BASELINES, "ispl.yaml", "self_training.yaml")


class Stripes(ImageDataModule):
    """Color noise of 24x24 pixels with stripes of ten directions."""

    mean = (0.5, 0.5, 0.5)
    std = (0.25, 0.25, 0.25)

    def load(self, train: bool) -> Images:
        generator = torch.Generator().manual_seed(int(train))
        label = torch.arange(80) % 10
        image = torch.randint(0, 100, (80, 3, 24, 24), generator=generator)
        for i, c in enumerate(label.tolist()):
            image[i, :, c * 2] += 150
        return Images(image.byte(), label, tuple(map(str, range(80))))

    def class_names(self) -> tuple[str, ...]:
        return tuple(map(str, range(10)))

    def default_augment(self) -> list[torch.nn.Module]:
        return []


def run(recipe: str, root: Path, **more: Any) -> Experiment:
    data = root / "data.yaml"
    attack = {"class_path": "cleanse.attacks.BadNets", "init_args": RATE}
    named = {"class_path": f"{__name__}.Stripes", "init_args": {"attack": attack}}
    data.write_text(yaml.safe_dump({"data": named}))
    overrides = {
        "model.network.widths": [8, 8, 8], "model.epochs": 1, "data.batch_size": 16, "trainer.accelerator": "cpu",
        "compare": [], "report": False, "root": str(root / "runs"), **SHORT.get(recipe, {}), **more,
    }  # fmt: skip
    return run_experiment(build([recipe, "fast.yaml", str(data)], overrides))


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs_with_it(recipe: str, tmp_path: Path) -> None:
    experiment = run(recipe, tmp_path)
    assert 0 <= experiment.results["sa"] <= 1
    config = yaml.safe_load((experiment.directory / "config.yaml").read_text())["model"]["init_args"]
    assert config["network"]["class_path"] == "cleanse.networks.FastNet"
    assert config["schedule"] == "one_cycle"


@pytest.mark.parametrize("recipe", ["knn.yaml", "flow.yaml"])
def test_nothing_is_pretrained(recipe: str, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    stages = {path.parent.name.rpartition("-")[0] for path in (tmp_path / "runs").glob("*/stage.json")}
    assert stages & {"simclr", "supcon", "probe"} == set()
    assert {"embed", "classifier"} <= stages


@pytest.mark.parametrize(("recipe", "most"), [("dbd.yaml", 30), ("asd.yaml", 20)])
def test_no_recipe_takes_the_papers_hundreds_of_epochs(recipe: str, most: float) -> None:
    """The work of its trainings on 10,000 images, counted in those of the classifier's ten epochs."""
    data = Digits(limit_train=100, reserve_clean=1).training_view()
    tenfold = TrainingView(data.source, data.rows.repeat(112)[:10_000], data.label.repeat(112)[:10_000])
    defense = configured(recipe).defense
    planned = defense.plan_verdict(tenfold) or []
    views = {"simclr": 2}
    work = sum(stage.work * views.get(stage.name, 1) for stage in planned)
    assert 2 < work / (10 * len(tenfold)) < most


def configured(*names: str) -> Any:
    return build([*names, "fast.yaml"], {"trainer.accelerator": "cpu", "data.download": False})


def test_photographs_are_mirrored() -> None:
    names = [type(t).__name__ for t in configured("none.yaml").data.augment]
    assert names == ["PadCrop", "RandomHorizontalFlip"]


@pytest.mark.parametrize("data", ["data/mnist.yaml", "data/fashion_mnist.yaml", "data/gtsrb.yaml"])
def test_other_data_keep_their_own_augmentation(data: str) -> None:
    assert configured("none.yaml", data).data.augment is None


def test_traffic_signs_are_read_at_32_pixels() -> None:
    assert configured("none.yaml", "data/gtsrb.yaml").data.size == 32  # type: ignore[attr-defined]


@pytest.mark.parametrize("attack", ["label_consistent", "label_consistent_pal", "narcissus", "adversarial_embedding"])
def test_attackers_train_what_the_defender_trains(attack: str, view: TrainingView) -> None:
    experiment = configured("none.yaml", f"attacks/{attack}.yaml")
    made: Any = experiment.data.attack
    defender = experiment.defense
    assert (made.surrogate_epochs, made.surrogate_batch_size) == (defender.epochs, experiment.data.batch_size)
    attacker = build_for(made.surrogate, view)
    for name in ("lr", "momentum", "weight_decay", "schedule", "nesterov", "label_smoothing"):
        assert getattr(attacker, name) == getattr(defender, name), name
    assert isinstance(attacker.network, FastNet)


def test_the_stages_are_known_beforehand(view: TrainingView) -> None:
    defense = configured("knn.yaml").defense
    planned = [*(defense.plan_verdict(view) or []), *defense.plan_final(view)]
    assert [stage.name for stage in planned] == ["embed", "classifier"]


def test_final_is_supcon_or_classifier() -> None:
    with pytest.raises(ValueError, match="final is one of supcon, classifier, not 'probe'"):
        ContrastiveFilter(final="probe")  # type: ignore[arg-type]
