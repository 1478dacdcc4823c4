import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets

from cleanse.data import CIFAR10
from cleanse.data.base import _statistics


def write(folder: Path, name: str, content: dict[str, Any]) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(pickle.dumps(content))
    return [name, hashlib.md5((folder / name).read_bytes()).hexdigest()]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The public layout with 10 images a file, and torchvision's checksums to match."""
    folder, rng = tmp_path / "cifar-10-batches-py", np.random.default_rng(0)

    def batch() -> dict[str, Any]:
        return {"data": rng.integers(256, size=(10, 3072), dtype=np.uint8), "labels": list(range(10))}

    train = [write(folder, f"data_batch_{i}", batch()) for i in range(1, 6)]
    test = [write(folder, "test_batch", batch())]
    names = CIFAR10().class_names()
    meta = write(folder, "batches.meta", {"label_names": list(names)})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": meta[0], "key": "label_names", "md5": meta[1]})
    return tmp_path


def test_images_and_labels_are_those_of_torchvision(root: Path) -> None:
    data = CIFAR10(str(root))
    data.prepare_data()
    for train in (True, False):
        part, expected = data.load(train), datasets.CIFAR10(root, train=train)
        assert part.image.is_contiguous()
        assert part.image.dtype == torch.uint8
        assert part.id == tuple(map(str, range(len(expected))))
        for i in (0, len(expected) - 1):
            image, label = expected[i]
            np.testing.assert_array_equal(part.image[i].permute(1, 2, 0).numpy(), np.asarray(image))
            assert part.label[i] == label
        assert list(data.class_names()) == expected.classes


def test_a_damaged_file_is_refused_and_never_unpickled(root: Path) -> None:
    with (root / "cifar-10-batches-py" / "data_batch_3").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"damaged.*root"):
        CIFAR10(str(root), download=False).load(train=True)


def test_missing_files_say_where_and_what_to_do(tmp_path: Path) -> None:
    data = CIFAR10(str(tmp_path / "none"), download=False)
    data.prepare_data()
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"none.cifar-10-batches-py .*download=true.*set root.*unpack https:"):
        data.load(train=True)


def test_a_failed_download_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(self: object) -> None:
        print("Downloading")
        raise OSError("Network is\nunreachable")

    monkeypatch.setattr(datasets.CIFAR10, "download", download)
    with pytest.raises(ValueError, match=r"downloading failed: Network is unreachable.*set root"):
        CIFAR10(str(tmp_path)).prepare_data()
    assert capsys.readouterr().out == ""


REAL = Path(os.environ.get("CLEANSE_TEST_DATA", "data"))


@pytest.mark.skipif(not (REAL / "cifar-10-batches-py").is_dir(), reason="CLEANSE_TEST_DATA has no cifar-10-batches-py")
def test_mean_and_std_are_those_of_the_real_training_images() -> None:
    data = CIFAR10(str(REAL), download=False)
    train = data.load(train=True)
    assert torch.bincount(train.label).tolist() == [5000] * 10
    mean, std = _statistics(train.image)
    assert data.mean == pytest.approx(mean, abs=1e-4)
    assert data.std == pytest.approx(std, abs=1e-4)
