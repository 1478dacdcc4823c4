"""What the system refuses is said in words, with the path."""

import errno
import os
from pathlib import Path

import pytest

from cleanse.cli import main as command_line
from cleanse.utils.os_error import in_words


def refusal(tmp_path: Path, kind: str) -> OSError:
    (tmp_path / "file").touch()
    paths = {"in the way": "file", "no folder": "file/a", "too long": "x" * 300}
    with pytest.raises(OSError, match="Errno") as error:
        (tmp_path / paths[kind]).mkdir(exist_ok=True)
    return error.value


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("in the way", "file' is there already, and no folder: move it away"),
        ("no folder", "file/a' cannot be reached: a part of its path is a file"),
        ("too long", "xxx' is too long a name for this disk"),
    ],
)
def test_a_refusal_names_the_path_and_what_to_do(tmp_path: Path, kind: str, words: str) -> None:
    said = in_words(refusal(tmp_path, kind))
    assert words in said
    assert "Errno" not in said
    assert len(said) < 300


@pytest.mark.parametrize("error", [OSError("lost"), OSError(errno.EBADF, "Bad file descriptor", 3)])
def test_what_it_has_no_words_for_is_said_as_it_is(error: OSError) -> None:
    assert in_words(error) == str(error)


def test_the_command_line_says_it_in_words(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def refuse(argv: list[str]) -> None:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), "runs/x/results.json")

    monkeypatch.setattr(command_line, "_command", refuse)
    with pytest.raises(SystemExit):
        command_line.main(["stages"])
    said = "cleanse: 'runs/x/results.json' is a folder where a file belongs: move it away, or name another\n"
    assert capfd.readouterr().err == said
