"""The notebooks run from the first cell to the last, at tiny size, and are kept with what they showed at full size."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[dict[str, Any]]:
    """The cells with code."""
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells(path))
    (tmp_path / "notebook.py").write_text(code)
    environment = {**os.environ, "CLEANSE_TINY": "1", "MPLBACKEND": "Agg", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "notebook.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_kept_with_its_outputs(path: Path) -> None:
    """All cells were run, in their order, in one go; none failed, and there is something to see."""
    book = cells(path)
    assert [cell["execution_count"] for cell in book] == list(range(1, len(book) + 1))
    kinds = {output["output_type"] for cell in book for output in cell["outputs"]}
    assert "error" not in kinds
    assert "display_data" in kinds, "a figure"
    assert "stream" in kinds, "the log and the figures as text"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_small(path: Path) -> None:
    assert path.stat().st_size < 300_000


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_name_no_folder_of_a_machine(path: Path) -> None:
    said = json.dumps([cell["outputs"] for cell in cells(path)])
    assert not re.findall(r"(?:/(?:home|root|tmp|work|usr|opt|var|Users|private)/|[A-Z]:\\\\)[\w.-]+", said)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_has_the_format_of_its_version(path: Path) -> None:
    """As nbformat 4.5 wants it: every cell has an id of its own. Code is Python alone."""
    book = json.loads(path.read_text())
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    lines = [line for cell in cells(path) for line in cell["source"]]
    assert [line for line in lines if line.startswith(("%", "!"))] == []


def test_your_own_folder_begins_with_the_first_command_of_the_help() -> None:
    (book,) = [path for path in NOTEBOOKS if path.stem == "your_own_folder"]
    code = "\n".join("".join(cell["source"]) for cell in cells(book))
    assert re.findall(r"\bcleanse\.(\w+)\(", code)[0] == "check"
    assert "cleanse check photos" in book.read_text()


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["tour", "your_own_attack_and_defense", "your_own_folder"]
