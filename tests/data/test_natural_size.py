"""The size of a folder's images."""

import os
from pathlib import Path

import pytest
from PIL import Image

from cleanse.data.natural_size import natural_size


@pytest.mark.parametrize(
    ("size", "expected"), [((40, 30), 30), ((8, 9), 16), ((640, 480), 224)], ids=["own", "at least 16", "at most 224"]
)
def test_the_shorter_side_within_bounds(size: tuple[int, int], expected: int, tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", size).save(tmp_path / "cat" / "a.png")
    (tmp_path / "cat" / "notes.txt").write_text("no image")
    assert natural_size(str(tmp_path)) == expected


def test_a_folder_without_images_has_the_usual_size(tmp_path: Path) -> None:
    assert natural_size(str(tmp_path)) == 32


def test_only_images_are_opened(tmp_path: Path) -> None:
    """A pipe would be waited for, for ever."""
    os.mkfifo(tmp_path / "0.png")
    (tmp_path / "1.png").symlink_to("/dev/zero")
    (tmp_path / ".thumbnails").mkdir()
    Image.new("RGB", (17, 18)).save(tmp_path / ".thumbnails" / "2.png")
    Image.new("RGB", (50, 40)).save(tmp_path / "3.png")
    assert natural_size(str(tmp_path)) == 40


def test_linked_images_count(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    Image.new("RGB", (60, 48)).save(tmp_path / "a.png")
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "a.png")
    assert natural_size(str(tmp_path / "set")) == 48
