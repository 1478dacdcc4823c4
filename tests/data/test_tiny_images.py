"""Carmon et al.'s pickle, and a pool of images without labels beside a data set."""

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cleanse.attacks import BadNets
from cleanse.data import CIFAR100, Digits, ImageFolder, TinyImages500K, WithPool
from cleanse.data.tiny_images import CONVERTED, FILE


def content(n: int = 40) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"data": rng.integers(256, size=(n, 32, 32, 3), dtype=np.uint8), "extrapolated_targets": np.arange(n) % 10}


def write(root: Path, what: Any, protocol: int = 4) -> TinyImages500K:
    (root / FILE).write_bytes(pickle.dumps(what, protocol=protocol))
    return TinyImages500K(str(root))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["int64", "list", "fortran", "big-endian"])
def test_every_pickle_of_the_layout_is_read(tmp_path: Path, protocol: int, kind: str) -> None:
    what = content()
    if kind == "list":
        what["extrapolated_targets"] = what["extrapolated_targets"].tolist()
    elif kind == "fortran":
        what["data"] = np.asfortranarray(what["data"])
    elif kind == "big-endian":
        what["extrapolated_targets"] = what["extrapolated_targets"].astype(">i4")
    images = write(tmp_path, what, protocol).load(train=True)
    assert images.image.dtype == torch.uint8
    np.testing.assert_array_equal(images.image.permute(0, 2, 3, 1).numpy(), what["data"])
    assert images.label.tolist() == list(what["extrapolated_targets"])
    assert images.id[:2] == ("0", "1")


def test_the_pickle_is_read_once_and_the_images_stay_in_their_file(tmp_path: Path) -> None:
    what = content(2000)
    data = write(tmp_path, what)
    data.prepare_data()
    (tmp_path / FILE).unlink()
    before = (tmp_path / CONVERTED[0]).read_bytes()
    tracemalloc.start()
    images = data.load(train=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < images.image.numel() / 4
    images.image.zero_()
    assert (tmp_path / CONVERTED[0]).read_bytes() == before


@pytest.mark.parametrize("name", CONVERTED)
def test_a_damaged_converted_file_is_named(tmp_path: Path, name: str) -> None:
    data = write(tmp_path, content())
    data.prepare_data()
    (tmp_path / name).write_bytes(b"\x93NUMPY no")
    with pytest.raises(ValueError, match=f"{name}.* is damaged"):
        data.load(train=True)


class Bomb:
    """Writes a file when it is unpickled in the ordinary way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_that_a_pickle_names_is_run(tmp_path: Path) -> None:
    data = write(tmp_path, {**content(), "more": Bomb(tmp_path / "run")})
    with pytest.raises(ValueError, match=r"damaged or not Carmon.*has no place in a file of images"):
        data.load(train=True)
    assert not (tmp_path / "run").exists()


def wrong_shape() -> dict[str, Any]:
    return {**content(), "data": np.zeros((40, 3, 32, 32), np.uint8)}


@pytest.mark.parametrize(
    "what",
    [
        [1, 2], {"data": 1}, {**content(), "data": np.zeros((40, 32, 32, 3))}, wrong_shape(),
        {**content(), "extrapolated_targets": np.zeros(3, int)}, {**content(), "data": np.array([None])},
    ],
)  # fmt: skip
def test_another_layout_is_refused(tmp_path: Path, what: Any) -> None:
    with pytest.raises(ValueError, match="damaged or not Carmon"):
        write(tmp_path, what).load(train=True)


def test_a_missing_or_cut_file_and_the_test_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set root to the folder"):
        TinyImages500K(str(tmp_path)).load(train=True)
    data = write(tmp_path, content())
    with pytest.raises(ValueError, match="no test part: use it as the pool"):
        data.load(train=False)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:-5000])
    with pytest.raises(ValueError, match="damaged"):
        data.load(train=True)


class Tiny(Digits):
    """Digits as a stand-in for CIFAR-10: 32x32 and in color, with its class names."""

    def load(self, train: bool) -> Any:
        read = super().load(train)
        image = read.image.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat(1, 3, 1, 1)
        return type(read)(image, read.label, read.id)

    def class_names(self) -> tuple[str, ...]:
        return TinyImages500K().class_names()


def test_the_pool_joins_without_its_labels_and_with_its_own_poison(tmp_path: Path) -> None:
    pool = write(tmp_path, content())
    attack = BadNets("gray", target=1, count=10, unlabeled_count=4)
    data = WithPool(Tiny(limit_train=60), pool, attack=attack, seed=0)
    view = data.training_view()
    assert view.labeled.tolist() == [True] * 60 + [False] * 40
    assert (view.label[60:] == -1).all()
    assert view.id[60:62] == ("pool/0", "pool/1")
    assert view.mean == data.images.mean
    role, true = data.truth.role, data.truth.true_label
    assert (role[:60] == 1).sum() == 10
    assert (role[60:] == 1).sum() == 4
    assert true[60:].tolist() == [i % 10 for i in range(40)]
    assert (true[60:][role[60:] == 1] != 1).all()
    clean = role[60:] == 0
    assert torch.equal(view.images(torch.arange(60, 100))[clean], pool.load(train=True).image[clean])
    assert len(data.clean_test()) == 397
    half = WithPool(Tiny(limit_train=60), pool, labeled=0.5, seed=0).training_view()
    assert half.labeled.sum() == 30
    assert not half.labeled[60:].any()
    other = WithPool(Tiny(limit_train=60), TinyImages500K(str(tmp_path), limit_train=20), seed=0)
    assert other.spec() != data.spec()
    assert len(other.training_view()) == 80


def test_classes_of_another_kind_are_unknown_truths(tmp_path: Path) -> None:
    from PIL import Image

    for c in range(2):
        (tmp_path / f"{c}").mkdir()
        for i in range(5):
            Image.new("L", (8, 8), color=20 * i + c).save(tmp_path / f"{c}" / f"{i}.png")
    folder = ImageFolder(str(tmp_path), size=8, color=False, holdout=0.2)
    attack = BadNets(count=1, unlabeled_rate=0.5)
    data = WithPool(Digits(limit_train=50), folder, attack=attack, seed=0)
    assert (data.training_view().label[50:] == -1).all()
    assert (data.truth.true_label[50:] == -1).all()
    assert len(data.truth.role) == 58
    assert data.truth.poisoned[50:].sum() == 4  # two are held out
    limited = WithPool(Digits(limit_train=50), folder, limit_train=30, seed=0).training_view()
    assert len(limited) == 30
    assert limited.labeled.sum() == sum(not i.startswith("pool/") for i in limited.id)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    pool = write(tmp_path, content())
    with pytest.raises(ValueError, match=r"\(3, 32, 32\) and \(1, 8, 8\)"):
        WithPool(Digits(), pool).training_view()
    for part in (Digits(attack=BadNets(count=1)), Digits(labeled=0.2), WithPool(Digits(), Digits())):
        with pytest.raises(ValueError, match="pool has an attack, a labeled fraction, reserved images or a pool"):
            WithPool(Digits(), part)


def test_cifar100_has_a_hundred_classes_in_order() -> None:
    names = CIFAR100.names
    assert len(set(names)) == 100
    assert list(names) == sorted(names)
    with pytest.raises(
        ValueError, match=r"CIFAR-100 was not found in none.cifar-100-python.*cifar-100-python\.tar\.gz"
    ):
        CIFAR100("none", download=False).load(train=True)
