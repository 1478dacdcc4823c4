"""Every yaml that ships runs end to end, at tiny size."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
import yaml

from cleanse.utils.configs import CONFIGS, shipped

Cleanse = Callable[..., "CompletedProcess[str]"]
MODULES = ["autoencoder.yaml", "simclr.yaml"]
OTHERS = ["quick.yaml", "fast.yaml", "augmentation_study.yaml"]  # run by test_fast.py and test_augmentation_study.py
RECIPES = [name for name in shipped() if "/" not in name and name not in (*OTHERS, *MODULES)]
ATTACKS = [name for name in shipped() if name.startswith("attacks/")]
DATA = [name for name in shipped() if name.startswith("data/")]
TINY = (
    "--config", "quick.yaml", "--data.limit_train", "150", "--data.limit_test", "50", "--data.batch_size", "32",
    "--model.epochs", "1", "--compare", "[]",
)  # fmt: skip
FILTER = ("--model.pretrain_epochs", "1", "--model.probe_epochs", "1", "--model.pretrain_batch_size", "50")
SELF_TRAINING = ("--model.teacher_epochs", "1", "--model.iteration_epochs", "1")
SHORT = {
    "ispl.yaml": ("--model.passes", "1", "--model.rounds", "2", "--model.self_training_epochs", "1"),
    "asd.yaml": (
        "--model.mixmatch_epochs",
        "3",
        "--model.by_class_epochs",
        "1",
        "--model.meta_from",
        "2",
        "--model.iterations",
        "2",
    ),
    "dbd.yaml": (
        "--model.pretrain_epochs",
        "1",
        "--model.pretrain_batch_size",
        "50",
        "--model.head_epochs",
        "1",
        "--model.mixmatch_epochs",
        "2",
        "--model.iterations",
        "2",
    ),
    "flow.yaml": ("--model.pretrain_epochs", "1", "--model.flow_epochs", "1"),
    **dict.fromkeys(("knn.yaml", "energy.yaml", "knn_energy.yaml", "supcon.yaml"), FILTER),
    **dict.fromkeys(("self_training.yaml", "semi_supervised.yaml"), SELF_TRAINING),
    "simclr_self_training.yaml": (*SELF_TRAINING, "--model.pretrain_epochs", "1", "--model.pretrain_batch_size", "50"),
    "abl.yaml": ("--model.isolation_epochs", "1", "--model.tune_epochs", "1", "--model.unlearn_epochs", "1"),
    "nad.yaml": ("--data.reserve_clean", "3", "--model.teacher_epochs", "1", "--model.distill_epochs", "1"),
    "attacks/adaptive_patch.yaml": ("--data.attack.surrogate_epochs", "1", "--data.attack.epochs", "1"),
    "attacks/label_consistent.yaml": ("--data.attack.surrogate_epochs", "1", "--data.attack.steps", "2"),
    "attacks/label_consistent_pal.yaml": ("--data.attack.surrogate_epochs", "1", "--data.attack.steps", "2"),
    "attacks/adversarial_embedding.yaml": ("--data.attack.surrogate_epochs", "1", "--data.attack.steps", "2"),
    "attacks/from_file.yaml": ("--data.attack.poison_from", "digits.npy"),
    "attacks/input_aware.yaml": ("--data.attack.epochs", "1", "--data.attack.mask_epochs", "1"),
    "attacks/narcissus.yaml": (
        "--data.attack.surrogate_epochs",
        "1",
        "--data.attack.warmup_epochs",
        "1",
        "--data.attack.rounds",
        "2",
    ),
    "attacks/issba.yaml": ("--data.attack.epochs", "1", "--data.attack.secret_epochs", "1"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_runs(cleanse: Cleanse, recipe: str, tmp_path: Path) -> None:
    done = cleanse("fit", "--config", recipe, *TINY, *SHORT.get(recipe, ()))
    results = json.loads((tmp_path / done.stdout.splitlines()[-1] / "results.json").read_text())
    assert 0 <= results["sa"] <= 1
    assert 0 <= results["asr"] <= 1
    assert results["oracle"] is (recipe == "oracle.yaml")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_fitted_alone(cleanse: Cleanse, module: str, tmp_path: Path) -> None:
    """A plain LightningModule as model: fitted, its checkpoint is the last line."""
    done = cleanse(
        "fit", "--config", module, "--config", "quick.yaml", "--data.limit_train", "100", "--trainer.max_epochs", "2",
        "--trainer.enable_progress_bar", "false",
    )  # fmt: skip
    checkpoint = tmp_path / done.stdout.splitlines()[-1]
    content = torch.load(checkpoint, weights_only=True)
    assert content["epoch"] == 1
    assert any(k.startswith("network.") for k in content["state_dict"])


@pytest.mark.parametrize("attack", ATTACKS)
def test_every_attack_runs_on_top_of_another(cleanse: Cleanse, attack: str, tmp_path: Path) -> None:
    """A fragment says all that an earlier one may have said: nothing of the recipe's own attack is left."""
    np.save(tmp_path / "digits.npy", np.full((1797, 8, 8, 1), 99, np.uint8))  # for from_file.yaml
    done = cleanse("fit", "--config", "none.yaml", *TINY[:2], "--config", attack, *TINY[2:], *SHORT.get(attack, ()))
    run = tmp_path / done.stdout.splitlines()[-1]
    made = yaml.safe_load((run / "config.yaml").read_text())["data"]["init_args"]["attack"]
    meant = yaml.safe_load((CONFIGS / attack).read_text())["data"]["init_args"]["attack"]
    assert made["class_path"] == meant["class_path"]
    changed = {word.rsplit(".", 1)[-1] for word in SHORT.get(attack, ())}
    quick = yaml.safe_load((CONFIGS / "quick.yaml").read_text())["for_class"]
    if own := quick.get(meant["class_path"].rsplit(".", 1)[-1]):
        changed |= own["data"]["init_args"]["attack"]["init_args"].keys()
    for name in meant["init_args"].keys() - changed:
        assert says(made["init_args"][name], meant["init_args"][name]), name
    shared = {"source", "target", "count", "poison_rate", "class_rate", "unlabeled_count", "unlabeled_rate"}
    assert shared <= set(meant["init_args"]) or set(meant["init_args"]) == {"attacks"}


def says(made: object, meant: object) -> bool:
    """Whether a parsed value says what is meant, defaults of the attacks within it filled in."""
    if isinstance(meant, dict) and isinstance(made, dict):
        return all(name in made and says(made[name], value) for name, value in meant.items())
    if isinstance(meant, list) and isinstance(made, list):
        return len(made) == len(meant) and all(map(says, made, meant))
    return made == meant


@pytest.mark.parametrize("data", DATA)
def test_every_data_fragment_names_a_data_module(data: str) -> None:
    """Their files are tested in tests/data; here, that class and arguments fit together."""
    from cleanse.data import ImageDataModule
    from cleanse.experiments.parser import Parser

    parser = Parser()
    parser.add_subclass_arguments(ImageDataModule, "data")
    made = parser.instantiate(parser.parse_path(CONFIGS / data)).data
    assert isinstance(made, ImageDataModule)


def test_the_attacks_ship_as_the_design_says() -> None:
    exceptions = {
        "attacks/dirty_label.yaml": {"source": 7, "target": 4, "class_rate": 0.2, "shape": "L"},
        "attacks/sig.yaml": {"source": None, "target": 0, "class_rate": 0.2},  # of the target class: labels are clean
        "attacks/label_consistent.yaml": {"source": None, "target": 0, "class_rate": 0.25},
        "attacks/label_consistent_pal.yaml": {"source": None, "target": 1, "class_rate": 0.5, "unlabeled_rate": 0.25},
        "attacks/from_file.yaml": {"source": None, "target": 0, "class_rate": 0.25},
        "attacks/narcissus.yaml": {"source": None, "target": 0, "poison_rate": 0.0005},  # as few as its authors have
        "attacks/several.yaml": {},  # made of others
        "attacks/tact.yaml": {"source": 1, "target": 0, "class_rate": 0.1, "cover_classes": [5, 7]},
    }
    for name in ATTACKS:
        arguments = yaml.safe_load((CONFIGS / name).read_text())["data"]["init_args"]["attack"]["init_args"]
        expected = exceptions.get(name, {"source": None, "target": 0, "class_rate": 0.1})
        assert {k: arguments[k] for k in expected} == expected, name


def test_folder_without_an_attack(cleanse: Cleanse, tmp_path: Path) -> None:
    """My own folder: no attack simulated, SA on the held-out part, an unreadable file is dropped and named."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for c in range(2):
        folder = tmp_path / "photos" / f"class {c}"
        folder.mkdir(parents=True)
        for i in range(30):
            pixels = (torch.rand(9, 11, 3, generator=generator) * 100 + 150 * c).clamp(0, 255).byte().numpy()
            Image.fromarray(pixels).save(folder / f"{i}.png")
    (tmp_path / "photos" / "class 0" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    done = cleanse(
        "fit", "--config", "none.yaml", "--config", "quick.yaml", "--config", "data/folder.yaml",
        "--data.root", "photos", "--data.size", "8", "--data.holdout", "0.2", "--model.epochs", "3",
    )  # fmt: skip
    run = tmp_path / done.stdout.splitlines()[-1]
    results = json.loads((run / "results.json").read_text())
    assert results["asr"] is None
    assert results["attack"] is None
    assert results["sa"] > 0.9
    assert results["dropped"] == results["unreadable"] == 1
    assert "torn.png" in done.stderr
    line = next(row for row in (run / "verdict.csv").read_text().splitlines() if "torn.png" in row)
    assert "drop" in line
    assert "unreadable" in line
    assert "ASR" not in done.stdout
