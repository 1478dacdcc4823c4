"""timm's networks as frozen encoders, with weights from a file."""

from pathlib import Path

import pytest
import timm
import torch

from cleanse.encoders import Timm

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
        (SMALL["convolutions"], "text.pt", "cannot be had"),
    ],
    ids=["unknown name", "no file", "no weights in it"],
)
def test_what_cannot_be_had_is_one_sentence(name: str, file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not weights")
    (tmp_path / "w.pt").write_text("not weights")
    with pytest.raises(ValueError, match=message):
        Timm(name, str(tmp_path / file), size=160)
