"""CIFAR-10 is not downloaded into somebody's photographs."""

from pathlib import Path

import pytest

from cleanse.data import CIFAR10, MNIST, ImageFolder
from cleanse.experiments.check_root import check_root

LAYOUTS: dict[str, tuple[str, ...]] = {
    "flat": ("1.jpg", "2.jpg"),
    "a folder per class": ("cat/1.JPG", "dog/1.png"),
    "a folder per class, and the runs of a check": (
        "cat/1.JPG",
        "dog/1.png",
        "runs/check-1/config.yaml",
        "runs/check-1/results.json",
    ),
    "a folder per class, and a system's": ("cat/1.JPG", "dog/1.png", "@eaDir/cat/x", "__MACOSX/y"),
    "parts": ("train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/dog/2.jpg"),
}
OTHERS = {
    "nothing": (),
    "the data set itself": ("cifar-10-batches-py/data_batch_1",),
    "several data sets": ("cifar-10-batches-py/data_batch_1", "photos/cat/1.jpg", "photos/dog/1.jpg"),
    "text": ("notes.txt",),
}


def made(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("kind", [CIFAR10, MNIST])
def test_pictures_are_refused_naming_the_config(kind: type, name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{kind.__name__}, which .* --config data/folder\.yaml"):
        check_root(kind(root=str(made(tmp_path, LAYOUTS[name]))))


@pytest.mark.parametrize("name", OTHERS)
def test_other_folders_are_not(name: str, tmp_path: Path) -> None:
    check_root(CIFAR10(root=str(made(tmp_path, OTHERS[name]))))
    check_root(CIFAR10(root=str(tmp_path / "not there yet")))


def test_a_folder_of_pictures_is_what_image_folder_takes(tmp_path: Path) -> None:
    check_root(ImageFolder(root=str(made(tmp_path, LAYOUTS["flat"]))))
