"""timm's networks as frozen encoders, with weights from a file."""

from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18

from cleanse.data import Digits
from cleanse.encoders import Pretrained, Timm
from cleanse.engine.runner import Runner

SMALL = {"convolutions": "test_resnet.r160_in1k", "vision transformer": "test_vit.r160_in1k"}


def weights(name: str, path: Path) -> str:
    torch.manual_seed(0)
    torch.save(timm.create_model(name, pretrained=False).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", SMALL.values(), ids=SMALL.keys())
def test_last_and_early_features_of_a_network(name: str, tmp_path: Path) -> None:
    encoder = Timm(name, weights(name, tmp_path / "w.pt"), size=160)
    features, early = encoder.encode_batch(torch.rand(2, 3, 160, 160))
    assert features.shape[0] == early.shape[0] == 2
    assert early.shape[1] % 64 == 0
    assert bool(features.isfinite().all())


@pytest.fixture
def one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's vision transformers with the first of their blocks only."""
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=1))


@pytest.mark.usefixtures("one_block")
@pytest.mark.parametrize("saved_at", [518, 224])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_dinov2_sees_small_images_whatever_the_size_of_its_weights(saved_at: int, ending: str, tmp_path: Path) -> None:
    """518 is the size of the file that timm downloads; images of 8 pixels are shown at 7 patches of 14, not at 96."""
    saved = timm.create_model("vit_small_patch14_dinov2.lvd142m", img_size=saved_at).state_dict()
    save = save_file if ending == "safetensors" else torch.save
    save(saved, tmp_path / f"w.{ending}")
    encoder = Timm(weights=str(tmp_path / f"w.{ending}"))
    view = Digits(limit_train=4).training_view()
    assert encoder.size_for(view) == 98
    run = Runner(tmp_path / "runs", arguments={"accelerator": "cpu", "logger": False})
    table = encoder.table(view, run)
    assert table.features.shape == (4, 384)
    assert table.early.shape == (4, 384 * 64)
    assert bool(table.features.isfinite().all())
    if saved_at == 518:
        assert torch.equal(encoder.network.pos_embed, saved["pos_embed"])


@pytest.mark.parametrize(("size", "shown"), [(None, 96), (100, 96), (105, 112)])
def test_a_vision_transformer_sees_whole_patches(size: int | None, shown: int, tmp_path: Path) -> None:
    name = SMALL["vision transformer"]
    view = Digits(limit_train=4).training_view()
    assert Timm(name, weights(name, tmp_path / "w.pt"), size=size).size_for(view) == shown
    name = SMALL["convolutions"]
    assert Timm(name, weights(name, tmp_path / "w.pt"), size=size).size_for(view) == (size or 96)


def test_weights_of_torchvision_fit_the_network_of_the_same_name(tmp_path: Path) -> None:
    torch.save(resnet18(num_classes=7).state_dict(), tmp_path / "w.pt")
    image = torch.rand(2, 3, 64, 64)
    theirs = Pretrained("resnet18", str(tmp_path / "w.pt"), size=64)(image)
    assert torch.allclose(Timm("resnet18", str(tmp_path / "w.pt"), size=64)(image), theirs, atol=1e-4)


def test_a_network_of_one_size_sees_images_at_that(tmp_path: Path) -> None:
    name = "levit_128s"
    encoder = Timm(name, weights(name, tmp_path / "w.pt"))
    assert encoder.size_for(Digits(limit_train=4).training_view()) == 224
    with pytest.raises(ValueError, match="takes images of 224 pixels only, not 96: leave size out"):
        Timm(name, str(tmp_path / "w.pt"), size=96)


def test_other_weights_have_another_key(tmp_path: Path) -> None:
    name = SMALL["convolutions"]
    first = Timm(name, weights(name, tmp_path / "a.pt"), size=160)
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    torch.save({key: value + 1 if value.is_floating_point() else value for key, value in state.items()}, tmp_path / "b")
    assert Timm(name, str(tmp_path / "b"), size=160).stage_key != first.stage_key


@pytest.mark.parametrize(
    ("name", "file", "message"),
    [
        ("no_such_network", "w.pt", "no_such_network"),
        (SMALL["convolutions"], "nowhere.pt", "there is no file"),
        (SMALL["convolutions"], "text.pt", "does not fit timm's 'test_resnet.r160_in1k'"),
        (SMALL["convolutions"], "other.pt", "lacks [0-9]+ tensors"),
    ],
    ids=["unknown name", "no file", "no weights in it", "weights of another network"],
)
def test_what_cannot_be_had_is_one_sentence(name: str, file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "w.pt").write_text("not weights")
    weights(SMALL["vision transformer"], tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message):
        Timm(name, str(tmp_path / file), size=160)
