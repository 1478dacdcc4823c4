"""What is no folder of images is told with what to do."""

from pathlib import Path

import pytest

from cleanse.utils.not_a_folder import not_a_folder

WORDS = {
    **dict.fromkeys(("photos.zip", "photos.tar.gz", "photos.tgz", "PHOTOS.7Z"), "is an archive: unpack it first"),
    **dict.fromkeys(("cat.jpg", "cat.PNG", "cat.heic"), "is a single image"),
    **dict.fromkeys(("labels.csv", "labels.tsv", "notes.txt"), "the folder of the images, and --data.labels"),
    **dict.fromkeys(("train.parquet", "digits.npz"), "has its data inside"),
    "knn.yaml": "is a config: name it with --config",
    "README": "is not a folder: give a folder with one folder of images per class",
}


@pytest.mark.parametrize("name", WORDS)
def test_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.touch()
    assert WORDS[name] in not_a_folder(str(path))


@pytest.mark.parametrize("address", ["https://example.com/photos.zip", "s3://bucket/photos", "hf://datasets/photos"])
def test_an_address(address: str) -> None:
    assert "is an address: download it first" in not_a_folder(address)


def test_nothing(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    assert "there is no folder" in not_a_folder(str(tmp_path / "elsewhere" / "photos.zip"))
    assert f"did you mean '{tmp_path / 'photos'}'?" in not_a_folder(str(tmp_path / "photso"))
    assert "did you mean" not in not_a_folder(str(tmp_path / "zebra"))


def test_an_empty_folder_and_one_with_something_in_it(tmp_path: Path) -> None:
    assert "is an empty folder" in not_a_folder(str(tmp_path))
    (tmp_path / "cat").mkdir()
    assert not not_a_folder(str(tmp_path))
