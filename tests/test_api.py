"""The way in from Python: a folder, or an embedding, to a verdict."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
    with pytest.raises(ValueError, match=r"recipe is one of abl, .*knn, knn_energy, nad, none, .* not 'kmm'"):
        cleanse.cleanse_folder(photos, recipe="kmm")
    with pytest.raises(ValueError, match="there is no folder 'fotos'"):
        cleanse.cleanse_folder("fotos")
    with pytest.raises(ValueError, match=r"no argument.*epoch"):
        cleanse.cleanse_folder(photos, overrides={"model.epoch": 1})


def test_images_and_labels_of_a_check_are_one_pair() -> None:
    with pytest.raises(ValueError, match=r"not ndarray: images and labels are one pair, cleanse\.check\(\(images, la"):
        cleanse.check(np.zeros((4, 8, 8), np.uint8), np.arange(4))  # type: ignore[arg-type]


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


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three blobs of 40, one image with a wrong label."""
    label = np.arange(120) % 3
    noise = torch.randn(120, 8, generator=torch.Generator().manual_seed(0)).numpy()
    features = 4 * np.eye(3, 8, dtype=np.float32)[label] + noise
    label[0] = 2
    return features, label


FORMS: dict[str, Any] = {
    "data frame": (pd.DataFrame, pd.Series),
    "filtered series": (None, lambda y: pd.Series(np.repeat(y, 2), dtype="int64").iloc[::2]),
    "reversed": (lambda x: x[::-1].copy()[::-1], lambda y: y[::-1].copy()[::-1]),
    "big-endian": (lambda x: x.astype(">f8"), lambda y: y.astype(">i4")),
    "unsigned": (None, lambda y: y.astype(np.uint8)),
    "nested lists": (lambda x: x.tolist(), lambda y: y.tolist()),
    "pandas' own integers": (None, lambda y: pd.Series(y, dtype="Int64").array),
    "floats": (None, lambda y: y.astype(float)),
    "half floats": (None, lambda y: torch.from_numpy(y).bfloat16()),
    "objects": (None, lambda y: y.astype(object)),
    "a column": (None, lambda y: y[:, None]),
    "sparse": (lambda x: torch.from_numpy(x).to_sparse(), None),
    "rows with gradients": (lambda x: list(torch.from_numpy(x).clone().requires_grad_()), None),
    "read-only": (lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape), None),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_embedding_may_come_in_any_form(form: str) -> None:
    features, label = blobs()
    expected = cleanse.verdict_from_embedding(features, label, k=20)
    rows, labels = (same or (lambda value: value) for same in FORMS[form])
    verdict = cleanse.verdict_from_embedding(rows(features), labels(label), k=20)
    assert not expected.kept[0]
    assert verdict.hash() == expected.hash()


def test_class_numbers_may_be_far_apart() -> None:
    """They stay as they are in the verdict, and cost nothing."""
    features, label = blobs()
    value = np.array([1440764, 3, 10**9])
    expected = cleanse.verdict_from_embedding(features, label, k=20)
    verdict = cleanse.verdict_from_embedding(features, value[label], k=20)
    assert verdict.label.tolist() == value[label].tolist()
    assert torch.equal(verdict.kept, expected.kept)
    assert set(verdict.new_label[~verdict.dropped].tolist()) == set(value.tolist())


def test_classes_may_be_names() -> None:
    features, label = blobs()
    names = np.array(["owl", "cat", "dog"])[label].astype(object)
    names[5] = None
    verdict = cleanse.verdict_from_embedding(features, pd.Series(names), k=20)
    assert verdict.label[:5].tolist() == [1, 0, 1, 2, 0]  # places among cat, dog, owl
    assert verdict.reason[5] == "no label"
    assert verdict.reason[0] == "looks like 'owl'"


@pytest.mark.parametrize(
    "missing",
    [
        pytest.param(lambda y: pd.array([None, *y[1:]], dtype="Int64"), id="pandas' integers"),
        pytest.param(lambda y: pd.Series([None, *map(str, y[1:])], dtype="string"), id="pandas' strings"),
        pytest.param(lambda y: np.array([np.nan, *y[1:]]), id="floats"),
        pytest.param(lambda y: np.ma.masked_array(y, mask=np.arange(len(y)) == 0), id="masked"),
    ],
)
def test_a_label_that_is_missing_in_any_way_is_no_class(missing: Any) -> None:
    features, label = blobs()
    verdict = cleanse.verdict_from_embedding(features, missing(label), k=20)
    assert verdict.reason[0] == "no label"
    assert len(set(verdict.label[1:].tolist())) == 3


def test_energies_that_are_all_equal_speak_for_the_label() -> None:
    features, label = blobs()
    assert cleanse.verdict_from_embedding(features, label, "energy", temperature=1e30).kept.all()


def test_a_class_that_is_lost_is_named(caplog: pytest.LogCaptureFixture) -> None:
    features, label = blobs()
    names = np.array(["owl", "cat", "dog"])[label].astype(object)
    names[7] = "bat"
    with caplog.at_level("WARNING", logger="cleanse"):
        cleanse.verdict_from_embedding(features, names, k=20)
    assert "next to nothing is left of 'bat' (0 of 1 images)" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"method": "none"}, "method is one of knn, energy, knn_energy"),
        ({"features": torch.ones(4)}, "features are"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "one for each row"),
        ({"labels": torch.tensor([0.0, 0.5, 1.0, 1.0])}, "whole numbers"),
        ({"labels": ["a", 1, "a", 1]}, "whole numbers"),
        ({"labels": {0: 1}}, "not dict"),
        ({"labels": None}, "not NoneType"),
        ({"labels": np.eye(4)}, "one for each row"),
        ({"labels": [[0, 1]] * 4}, "a label is one number or name"),
        ({"features": torch.ones(4, 3)}, "all 4 rows are equal"),
        ({"features": torch.ones(4, 0)}, "features are"),
        ({"features": torch.eye(4, device="meta")}, "without values"),
        ({"features": [torch.ones(2), torch.ones(3)]}, "rows of one length"),
        ({"features": np.ma.masked_array(np.eye(4), mask=np.eye(4) > 0)}, "4 of 4 rows of features are NaN"),
        ({"classes": "ab"}, "classes are a list of names"),
        ({"classes": ["a", "a"]}, "'a' is there twice"),
        ({"ids": 4}, "ids are"),
        ({"k": True}, "k is a number of neighbors"),
        ({"temperature": None}, "temperature is a number, not None"),
        ({"percentile": "80"}, "percentile is a number, not '80'"),
        ({"labels": torch.full((4,), -1)}, "nothing to judge"),
        ({"labels": ["a", "b", "b", "c"], "classes": ["a", "b"]}, "classes has no 'c'"),
        ({"labels": [0, 0, 0, 0]}, "all images are of class '0', so that there is none to compare"),
        ({"labels": [0, -1, -1, 1]}, "2 images have one, and it takes three"),
        ({"labels": np.full(4, 2**64 - 1, dtype=np.uint64)}, "to 2\\^63 - 1"),
        ({"features": [["a", "b"]] * 4}, "array of numbers"),
        ({"k": 5.0}, "k is a number of neighbors, a whole one such as 5, not 5.0"),
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
