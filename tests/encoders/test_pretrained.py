"""Weights from a file that the test writes give the features that torchvision's own network gives."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import resnet18
from torchvision.transforms.functional import normalize, resize

from cleanse.data import Digits, ImageFolder
from cleanse.encoders.pretrained import IMAGENET, Pretrained
from cleanse.engine.runner import Runner
from cleanse.experiments.build import build


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=7).state_dict(), tmp_path / "weights.pt")
    return str(tmp_path / "weights.pt")


def test_features_are_those_of_the_network_before_its_last_layer(weights: str) -> None:
    made = Pretrained("resnet18", weights, size=48).train()
    image = torch.rand(2, 1, 20, 20)
    reference = resnet18(num_classes=7)
    reference.load_state_dict(torch.load(weights, weights_only=True))
    reference.fc = torch.nn.Identity()
    expected = reference.eval()(normalize(resize(image.expand(-1, 3, -1, -1), [48, 48]), *IMAGENET))
    assert torch.allclose(made(image), expected, atol=1e-5)
    assert not any(p.requires_grad for p in made.parameters())
    assert not made.training


def test_a_runner_makes_a_table_of_them_once(weights: str, tmp_path: Path) -> None:
    view = Digits(limit_train=12).training_view().plain()
    arguments = {"accelerator": "cpu", "logger": False}
    run = Runner(tmp_path / "runs", arguments=arguments)
    first = run.predict("embed", Pretrained("resnet18", weights, size=32), view)
    assert first.features.shape == (12, 512)
    again = run.predict("embed", Pretrained("resnet18", weights, size=32), view)
    assert run.computed == 1
    assert torch.equal(first.features, again.features)
    torch.save(resnet18(num_classes=7).state_dict(), weights)
    run.predict("embed", Pretrained("resnet18", weights, size=32), view)
    assert run.computed == 2  # other weights


@pytest.mark.parametrize("recipe", ["knn", "energy", "knn_energy", "flow"])
def test_a_recipe_takes_it_and_it_sees_a_folders_files_at_its_own_size(
    recipe: str, weights: str, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            pixels = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    values = {
        "data.root": str(tmp_path / "photos"), "data.size": 8, "model.encoder": "cleanse.encoders.Pretrained",
        "model.encoder.name": "resnet18", "model.encoder.weights": weights, "model.encoder.size": 32,
    }  # fmt: skip
    defense: Any = build([f"{recipe}.yaml", "data/folder.yaml"], values).defense
    view = ImageFolder(str(tmp_path / "photos"), size=8).training_view()
    run = Runner(tmp_path / "runs", arguments={"accelerator": "cpu", "logger": False})
    large = ImageFolder(str(tmp_path / "photos"), size=32).training_view().images(torch.arange(6))
    expected = Pretrained("resnet18", weights, size=32)(large.float() / 255)
    assert torch.allclose(defense.encode(view, run), expected, atol=1e-4)
    (planned,) = defense.plan_encode(view)
    assert (planned.name, planned.data.size, planned.epochs) == ("embed", (32, 32), 0)


def test_what_is_missing_is_named(weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    for make, said in (
        (partial(Pretrained, "resnet50"), r"IMAGENET1K_V2 of resnet50 are not on this machine: download https://"),
        (partial(Pretrained, "resnet50", "no/such.pt"), "there is no file 'no/such.pt'"),
        (partial(Pretrained, "resnet5", "IMAGENET1K_V2"), "no weights 'IMAGENET1K_V2' for a network 'resnet5'"),
        (partial(Pretrained, "resnet50", weights), "does not fit torchvision's network 'resnet50'"),
        (partial(Pretrained, "resnet50", __file__), "not a file with a state dict alone"),
    ):
        with pytest.raises(ValueError, match=said):
            make()
    with pytest.raises(ValueError, match=r"pip install 'cleanse\[clip\]'"):
        monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
        Pretrained("ViT-B-32", weights, library="open_clip")
