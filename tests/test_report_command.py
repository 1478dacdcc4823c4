"""`cleanse report`: from a run's directory to its page, with and without its data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cleanse.cli import UsageError
from cleanse.main import main
from cleanse.report_command import read_run, report, report_runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `knn` on 100 digits."""
    where = tmp_path_factory.mktemp("report")
    command = "fit --config knn.yaml --config quick.yaml --data.limit_train 100 --data.limit_test 50 --compare [none] "
    command += "--model.pretrain_epochs 1 --model.epochs 1 --model.probe_epochs 1 --trainer.accelerator cpu"
    done = subprocess.run(
        [sys.executable, "-m", "cleanse", *command.split()],
        cwd=where, env=dict(os.environ), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return where / done.stdout.strip().splitlines()[-1]


def test_the_page_of_a_run(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["report", str(run)])
    assert capfd.readouterr().out.splitlines()[-1] == str(run / "report.html")
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in ("Map of the embedding", "by true role", 'src="data:image/png', "No defense", "simclr"):
        assert text in page, text
    found = read_run(run)
    assert found.missing == "" and found.role is not None and found.features is not None
    assert int((found.role == 1).sum()) == found.results["poisoned"]


def test_several_runs_need_a_place(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out"):
        report([str(run), str(run)])
    page = report_runs([run, run], tmp_path / "both.html").read_text(encoding="utf-8")
    assert "Comparison of 2 runs" in page and "<img" not in page


def test_without_the_data_or_the_stages_there_is_still_a_page(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, symlinks=True)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("limit_train: 100", "limit_train: 90"))
    page = report_runs([copy]).read_text(encoding="utf-8")
    assert "No images are shown: the data have changed" in page and "Map of the embedding" not in page


def test_what_is_no_run_is_refused_in_a_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the directory of a run"):
        report_runs([tmp_path])
    with pytest.raises(UsageError, match="is a folder"):
        report_runs([run], tmp_path)
    assert not list(tmp_path.iterdir())
