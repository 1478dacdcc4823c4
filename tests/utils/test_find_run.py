"""Which run a name on the command line means."""

from pathlib import Path

import pytest

from cleanse.utils.find_run import find_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("knn-one", "knn-two", "ispl-one"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").touch()
        (tmp_path / "runs" / name / "verdict.parquet").touch()
    return tmp_path / "runs"


def test_a_run_is_itself(runs: Path) -> None:
    assert find_run(runs / "knn-one") == runs / "knn-one"


def test_a_beginning_that_one_run_has_is_named_in_full(runs: Path) -> None:
    with pytest.raises(ValueError, match=r"did you mean .*ispl-one\?"):
        find_run(runs / "ispl")


def test_the_directory_of_all_runs_names_them(runs: Path) -> None:
    with pytest.raises(ValueError, match=r"holds runs and is none: name one of them, the newest first: .*knn-two"):
        find_run(runs)


def test_any_other_directory_is_refused(runs: Path) -> None:
    with pytest.raises(ValueError, match=r"it has no config\.yaml"):
        find_run(runs.parent / "elsewhere")
