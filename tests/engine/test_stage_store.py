"""Stages are listed and sized; the ones that a run links to are never removed."""

import os
import time
from pathlib import Path

import pytest

from cleanse.cli.main import main
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.stage_store import prune, stored_stages
from cleanse.utils.lock import Lock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two stages that a run links to, one that none does, and one that was stopped; all are 10 days old."""
    root = tmp_path / "runs"
    for name in ("simclr-1", "embed-2", "old-3", "stopped-4.part"):
        (root / name).mkdir(parents=True)
        (root / name / "model.ckpt").write_bytes(b"x" * 1000)
        if not name.endswith(".part"):
            (root / name / "stage.json").write_text('{"seconds": 3.5}')
    run = RunDirectory(root / "knn-digits-0")
    run.path.mkdir()
    run.link_stages([("simclr", root / "simclr-1"), ("embed", root / "embed-2")])
    for path in [*root.glob("*/*"), *root.iterdir()]:
        os.utime(path, (time.time() - 864000,) * 2, follow_symlinks=False)
    return root


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def test_size_time_and_runs_of_each_stage(root: Path) -> None:
    found = {stage.path.name: stage for stage in stored_stages(root)}
    assert set(found) == {"simclr-1", "embed-2", "old-3", "stopped-4.part"}
    assert found["simclr-1"].size == 1016
    assert found["simclr-1"].runs == ("knn-digits-0",)
    assert found["old-3"].runs == ()
    assert (found["old-3"].seconds, found["stopped-4.part"].seconds) == (3.5, None)


def test_what_a_run_links_to_stays(root: Path) -> None:
    removed = {stage.path.name for stage in prune(root, 0)}
    assert removed == {"old-3", "stopped-4.part"}
    assert names(root) == {"simclr-1", "embed-2", "knn-digits-0"}


def test_what_is_younger_stays(root: Path) -> None:
    assert prune(root, 11 * 86400) == []
    assert "old-3" in names(root)


def test_what_is_being_computed_stays(root: Path) -> None:
    lock = Lock(root / ".stopped-4.lock")
    assert lock.acquire()
    prune(root, 0)
    assert "stopped-4.part" in names(root)
    lock.release()


def test_a_root_that_is_reached_by_a_link_keeps_what_its_runs_need(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    prune(tmp_path / "link", 0)
    assert {"simclr-1", "embed-2"} < names(root)


def test_the_command_lists_the_unused_and_prunes_them(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["stages", "--root", str(root), "--unused", "--older", "9d"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 stages")
    main(["stages", "--root", str(root), "--prune", "--older", "30d"])
    assert capsys.readouterr().out == "removed 0 stages, 0.00 MB\n"
    main(["stages", "--root", str(root), "--prune", "--older", "9d"])
    assert names(root) == {"simclr-1", "embed-2", "knn-digits-0"}


def test_an_age_without_its_unit_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["stages", "--root", str(root), "--older", "30"])
    assert "write it as 30d" in capsys.readouterr().err
