"""The same images at the size that an encoder wants."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cleanse.attacks import BadNets
from cleanse.data import Digits, ImageFolder, pictures
from cleanse.engine.fingerprint import hash_of
from cleanse.utils.image_spec import ImageSpec


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twenty images of 40x30 pixels in two classes."""
    for c in "ab":
        (tmp_path / c).mkdir()
        for i in range(10):
            pixels = np.random.default_rng(ord(c) * 100 + i).integers(256, size=(40, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / c / f"{i}.png")
    return tmp_path


def test_a_folder_is_read_from_its_files_again(photos: Path) -> None:
    small, large = (ImageFolder(str(photos), size=size).training_view() for size in (8, 24))
    again = small.at_size(24)
    assert again.id == large.id
    assert again.size == (24, 24)
    assert torch.equal(again.images(torch.arange(20)), large.source.image)


def test_a_subset_keeps_its_rows(photos: Path) -> None:
    data = ImageFolder(str(photos), size=8, limit_train=6)
    view = data.training_view()
    part = view.subset(torch.tensor([False, True, True, False, False, True])).at_size(24)
    whole = ImageFolder(str(photos), size=24).training_view()
    rows = [whole.id.index(id) for id in part.id]
    assert torch.equal(part.images(torch.arange(3)), whole.source.image[rows])
    assert torch.equal(data.images_at(24).images(torch.arange(6))[[1, 2, 5]], whole.source.image[rows])


def test_gray_stays_gray(photos: Path) -> None:
    gray = ImageFolder(str(photos), size=8, color=False).training_view().at_size(24)
    expected = ImageFolder(str(photos), size=24, color=False).training_view().source.image
    assert torch.equal(gray.images(torch.arange(20)), expected)


def test_every_size_is_another_key(photos: Path) -> None:
    view = ImageFolder(str(photos), size=8).training_view()
    digits = Digits(limit_train=20).training_view()
    sizes = [v.at_size(size) for v in (view, digits) for size in (16, 24)]
    assert len({hash_of(v) for v in (view, digits, *sizes)}) == 6
    assert view.at_size(8).source is view.source


def test_poisoned_images_are_scaled_with_the_clean_ones(photos: Path) -> None:
    """From their files, the clean ones would be sharper than the poisoned ones."""
    data = ImageFolder(str(photos), size=8, attack=BadNets(count=4, size=2), seed=0)
    large = data.images_at(16).images(torch.arange(20)).float()
    small = data.training_view().source.image.float()
    expected = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", antialias=True).round()
    assert torch.equal(large, expected)


def test_the_batch_is_of_that_size(photos: Path) -> None:
    batch = ImageFolder(str(photos), size=8).training_view().at_size(24).batch(torch.tensor([3, 4]), augmented=False)
    assert batch["image"].shape == (2, 3, 24, 24)


def test_the_memory_does_not_depend_on_the_number_of_images(photos: Path) -> None:
    view = ImageFolder(str(photos), size=8).training_view().at_size(512)
    tracemalloc.start()
    for row in range(20):
        view.images(torch.tensor([row]))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * 3 * 512 * 512


def test_copies_are_found_at_any_size(photos: Path) -> None:
    (photos / "a" / "twin.png").write_bytes((photos / "a" / "0.png").read_bytes())
    group = ImageFolder(str(photos), size=8).training_view().at_size(16).duplicate_group
    assert len(set(group.tolist())) == 20


# --- pictures without labels ---
SPEC = ImageSpec(3, 2, (0.5,) * 3, (0.25,) * 3, (24, 24))


def test_pictures_are_those_of_a_folder_whatever_its_folders(photos: Path) -> None:
    Image.new("RGB", (50, 40)).save(photos / "loose.png")
    (photos / "a" / "torn.png").write_bytes(b"no")
    (photos / "__MACOSX").mkdir()
    found = pictures(str(photos), SPEC, ("cat", "dog"))
    assert found.view.id == (*(f"{c}/{i}.png" for c in "ab" for i in range(10)), "loose.png")
    assert torch.equal(found.view.images(torch.arange(20)), ImageFolder(str(photos), size=24).load(True).image)
    assert found.view.label.tolist() == [-1] * 21
    assert found.view.classes == ("cat", "dog")
    assert found.view.image_spec == SPEC
    assert [name for name, _ in found.unreadable] == ["a/torn.png"]
    assert found.left_out == (("__MACOSX", "made by a system or a tool"),)


def test_pictures_are_gray_for_a_gray_classifier(photos: Path) -> None:
    spec = ImageSpec(1, 2, (0.5,), (0.25,), (24, 24))
    assert pictures(str(photos), spec, ("cat", "dog")).view.channels == 1


@pytest.mark.parametrize(("name", "said"), [("nowhere", "there is no folder"), ("empty", "has no image files")])
def test_a_folder_without_pictures_is_refused(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=said):
        pictures(str(tmp_path / name), SPEC, ("cat", "dog"))
