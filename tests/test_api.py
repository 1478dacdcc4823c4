"""The way in from Python: a folder, or an embedding, to a verdict."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import cleanse
from cleanse.defenses import ContrastiveFilter

TINY: dict[str, object] = {
    "model.pretrain_epochs": 1, "model.epochs": 1, "model.probe_epochs": 1, "model.pretrain_batch_size": 16,
    "trainer.accelerator": "cpu",
}  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images of noise in each of two classes."""
    draw = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(20):
            pixels = draw.integers(0, 256, (12, 9, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_a_folder_to_a_verdict(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = photos.parent / "runs"
    experiment = cleanse.cleanse_folder(photos, size=8, root=root, quick=True, overrides=TINY)
    verdict = experiment.verdict
    assert len(verdict) == 40
    assert set(verdict.label.tolist()) == {0, 1}
    assert all((photos / name).is_file() for name in verdict.id)
    out, err = capsys.readouterr()
    (run,) = root.glob("knn-imagefolder-*")
    assert out == ""
    assert "Of 40 images, " in err
    assert err.splitlines()[-1] == str(run)
    assert experiment.directory == run
    assert experiment.results["kept"] == int(verdict.kept.sum())
    assert experiment.model(torch.rand(2, 3, 8, 8)).shape == (2, 2)
    assert cleanse.Verdict.load(run).hash() == verdict.hash()
    again = cleanse.cleanse_folder(photos, size=8, root=root, quick=True, overrides=TINY)
    assert again.verdict.hash() == verdict.hash()
    assert len(list(root.glob("knn-imagefolder-*"))) == 1
    assert "stages were on disk already" in capsys.readouterr().err


def test_values_of_every_kind_are_overridden(photos: Path) -> None:
    """A list, None, a truth value and a number in exponents arrive as on the command line."""
    values = {"model.epochs": 1, "model.milestones": [], "data.limit_test": None, "model.weight_decay": 1e-5}
    more = {"trainer.accelerator": "cpu", "trainer.enable_model_summary": False}
    root = photos.parent / "runs"
    verdict = cleanse.cleanse_folder(str(photos), "none", root, 8, 3, {**values, **more}, quick=True).verdict
    assert verdict.kept.all()
    (text,) = root.glob("none-imagefolder-*/config.yaml")
    config: dict[str, Any] = yaml.safe_load(text.read_text())
    model = config["model"]["init_args"]
    assert (model["milestones"], model["weight_decay"], config["seed_everything"]) == ([], 1e-5, 3)


def test_a_wrong_argument_is_a_value_error(photos: Path) -> None:
    with pytest.raises(ValueError, match=r"recipe is one of energy, flow, ispl, knn, knn_energy, none, .* not 'kmm'"):
        cleanse.cleanse_folder(photos, recipe="kmm")
    with pytest.raises(ValueError, match="there is no directory 'fotos'"):
        cleanse.cleanse_folder("fotos")
    with pytest.raises(ValueError, match=r"no argument.*epoch"):
        cleanse.cleanse_folder(photos, overrides={"model.epoch": 1})


@pytest.mark.parametrize("method", ["knn", "energy", "knn_energy"])
def test_an_embedding_to_a_verdict(method: Any) -> None:
    """Tensors and arrays alike, and the recipe's own verdict; an image without a label is dropped."""
    true = torch.arange(120) % 3
    features = 4 * torch.eye(3, 8)[true] + torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    label = true.clone()
    label[0], label[1] = 2, -1
    verdict = cleanse.verdict_from_embedding(features, label, method, classes=["a", "b", "c"])
    assert not verdict.kept[0]
    assert verdict.dropped[1]
    assert verdict.reason[1] == "no label"
    assert int(verdict.kept.sum()) > 100
    assert verdict.id[5] == "5"
    assert verdict.score.argmax() == 0
    of_arrays = cleanse.verdict_from_embedding(features.numpy(), label.numpy().astype("int32"), method)
    assert of_arrays.hash() == verdict.hash()
    assert torch.equal(of_arrays.score, verdict.score)
    of_recipe = ContrastiveFilter(method=method).verdict(features, label, verdict.id, ["a", "b", "c"])
    assert of_recipe.hash() == verdict.hash()
    assert torch.equal(of_recipe.score, verdict.score)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"method": "none"}, "method is one of knn, energy, knn_energy"),
        ({"features": torch.ones(4)}, "features are"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "one for each row"),
        ({"labels": torch.tensor([0.0, 0.0, 1.0, 1.0])}, "whole numbers"),
        ({"labels": torch.full((4,), -1)}, "nothing to judge"),
        ({"labels": np.array(["a", "a", "b", "b"])}, "arrays of numbers"),
        ({"labels": torch.tensor([0, 0, -2, 1])}, "whole numbers"),
        ({"classes": ["a"]}, "classes has 1 names"),
        ({"ids": ["a"]}, "ids has 1 names for 4 images"),
        ({"k": 4}, "k is between 1 and 3"),
    ],
)
def test_a_wrong_embedding_is_a_value_error(arguments: dict[str, Any], why: str) -> None:
    good = {"features": torch.eye(4), "labels": torch.tensor([0, 0, 1, 1])}
    with pytest.raises(ValueError, match=why):
        cleanse.verdict_from_embedding(**{**good, **arguments})


def test_importing_is_light() -> None:
    code = "import sys, cleanse; dir(cleanse); print(sorted({'torch', 'lightning'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert callable(cleanse.functional.knn_vote)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cleanse.nothing  # type: ignore[attr-defined]
