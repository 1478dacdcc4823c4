"""Files that are complete or not there, whatever lies in their place."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cleanse.utils.files import (
    atomic_write,
    atomic_write_bytes,
    atomic_write_text,
    check_new_file,
    digest_of,
    new_folder,
)
from cleanse.utils.usage_error import UsageError


def test_the_file_holds_what_was_written(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a.txt", "grün")
    atomic_write_bytes(tmp_path / "a.bin", b"\x00\xff")
    assert (tmp_path / "a.txt").read_bytes() == "grün".encode()
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\xff"


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "a") as file:
        file.write("new")
        file.flush()
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("mine")
    (tmp_path / "a").symlink_to("secret")
    atomic_write_text(tmp_path / "a", "new")
    assert (tmp_path / "secret").read_text() == "mine"
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_text() == "new"


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_lies_under_a_guessable_name_is_not_touched(tmp_path: Path, kind: str) -> None:
    """A stranger's folder may hold such a file, to have another one written or to make the command hang."""
    (tmp_path / "secret").write_text("mine")
    for name in ("a.aside", ".a.aside", "a.tmp", "a.part", f".a.{os.getpid()}.aside"):
        if kind == "link":
            (tmp_path / name).symlink_to("secret")
        else:
            os.mkfifo(tmp_path / name)
    atomic_write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert (tmp_path / "secret").read_text() == "mine"
    assert len(os.listdir(tmp_path)) == 7


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    script = (
        "import os, sys; os.umask(0o027)\n"
        "from cleanse.utils.files import atomic_write_text\n"
        "atomic_write_text(sys.argv[1], 'x')"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_permissions_of_a_file_that_is_replaced_stay(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o600)
    atomic_write_text(tmp_path / "a", "new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_long_names_and_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in ("x" * 255, os.fsdecode(b"\xff\xfe.csv"), "ß" * 127):
        atomic_write_text(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"


def test_a_digest_is_of_regular_files_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(ValueError, match="pipe is no regular file"):
        digest_of(tmp_path / "pipe")
    with pytest.raises(ValueError, match="zero is no regular file"):
        digest_of("/dev/zero")
    with pytest.raises(OSError):
        digest_of(tmp_path / "link")


def test_a_new_folder_is_complete_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == []
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
        assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["a"]


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        atomic_write_text(tmp_path / "nowhere" / "a.csv", "x")
    assert error.value.filename == str(tmp_path / "nowhere" / "a.csv")


@pytest.mark.parametrize(
    ("name", "words"),
    [("folder", "--csv is a file, but .*folder' is a folder"), ("none/a.csv", r"--csv: there is no folder .*none'")],
)
def test_a_file_that_could_not_be_written_is_refused_beforehand(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=words):
        check_new_file(tmp_path / name, "--csv")
    check_new_file(tmp_path / "folder" / "a.csv", "--csv")


def test_a_folder_where_a_file_belongs_is_named_as_the_caller_knows_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match=r"a'$") as error:
        atomic_write_text(tmp_path / "a", "new")
    assert error.value.filename == str(tmp_path / "a")
    assert os.listdir(tmp_path) == ["a"]
