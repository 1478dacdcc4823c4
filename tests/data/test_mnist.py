import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from cleanse.data import MNIST, FashionMNIST, fashion_mnist
from cleanse.data.base import _statistics


def write(folder: Path, packed: bool = False) -> None:
    """The four files with 20 training and 10 test images."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 10)):
        pixels = rng.integers(256, size=(count, 28, 28), dtype=np.uint8)
        label = np.arange(count, dtype=np.uint8) % 10
        for name, array in (("images-idx3", pixels), ("labels-idx1", label)):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            file, content = folder / f"{part}-{name}-ubyte", head + array.tobytes()
            if packed:
                file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(content))
            else:
                file.write_bytes(content)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_images_and_labels_are_those_of_torchvision(kind: type[MNIST | FashionMNIST], tmp_path: Path) -> None:
    write(tmp_path / kind.__name__ / "raw")
    for train in (True, False):
        part, expected = kind(str(tmp_path)).load(train), getattr(datasets, kind.__name__)(tmp_path, train=train)
        assert torch.equal(part.image[:, 0], expected.data)
        assert torch.equal(part.label, expected.targets)
        assert part.id == tuple(map(str, range(len(expected))))
    assert len(kind(str(tmp_path)).class_names()) == 10


def test_gzipped_files_directly_in_root_are_found_without_a_download(tmp_path: Path) -> None:
    write(tmp_path / "plain" / "MNIST" / "raw")
    write(tmp_path / "packed", packed=True)
    data = MNIST(str(tmp_path / "packed"))
    data.prepare_data()
    assert torch.equal(data.load(train=False).image, MNIST(str(tmp_path / "plain")).load(train=False).image)


def test_a_root_without_files_falls_back_to_debians_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "debian", packed=True)
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "debian")
    data = FashionMNIST(str(tmp_path / "none"))
    data.prepare_data()
    assert len(data.load(train=True).label) == 20
    with pytest.raises(ValueError, match="MNIST was not found"):
        MNIST(str(tmp_path / "none"), download=False).load(train=True)


@pytest.mark.skipif(not fashion_mnist.DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_real_fashion_mnist_has_this_mean_and_std(tmp_path: Path) -> None:
    data = FashionMNIST(str(tmp_path))
    train = data.load(train=True)
    assert torch.bincount(train.label).tolist() == [6000] * 10
    mean, std = _statistics(train.image)
    assert data.mean == pytest.approx(mean, abs=1e-4)
    assert data.std == pytest.approx(std, abs=1e-4)


@pytest.mark.parametrize("content", [b"", b"\0\0\x08", b"\0\0\x0d\x01\0\0\0\x01a", b"\0\0\x08\x01\0\0\0\x09short"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_damaged_file_is_named(content: bytes, packed: bool, tmp_path: Path) -> None:
    write(tmp_path, packed)
    file = tmp_path / ("train-labels-idx1-ubyte" + ".gz" * packed)
    file.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.*delete it"):
        MNIST(str(tmp_path)).load(train=True)


def test_a_cut_archive_is_named(tmp_path: Path) -> None:
    write(tmp_path, packed=True)
    file = tmp_path / "train-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(bytes(1000))[:-9])
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is cut"):
        MNIST(str(tmp_path)).load(train=True)


def test_another_number_of_labels_than_of_images_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02ab")
    with pytest.raises(ValueError, match=r"20 images but .* 2 labels"):
        MNIST(str(tmp_path)).load(train=True)


def test_labels_that_do_not_fit_the_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x14" + bytes(19) + b"\x0a")
    with pytest.raises(ValueError, match="labels run from 0 to 10"):
        MNIST(str(tmp_path)).training_view()
