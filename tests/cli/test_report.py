"""`cleanse report`: from a run's directory to its page, with and without its data."""

import shutil
from pathlib import Path

import pytest
import torch
from commands import run_command

from cleanse.cli.main import main
from cleanse.cli.report import report
from cleanse.experiments.pages import read_run, report_runs
from cleanse.experiments.parser import UsageError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `knn` on 100 digits."""
    where = tmp_path_factory.mktemp("report")
    command = "fit --config knn.yaml --config quick.yaml --data.limit_train 100 --data.limit_test 50 --compare [none] "
    command += "--model.pretrain_epochs 1 --model.epochs 1 --model.probe_epochs 1 --trainer.accelerator cpu"
    done = run_command(command.split(), where)
    assert done.returncode == 0, done.stderr
    return where / done.stdout.strip().splitlines()[-1]


def test_the_page_of_a_run(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["report", str(run)])
    assert capfd.readouterr().out.splitlines()[-1] == str(run / "report.html")
    page = (run / "report.html").read_text(encoding="utf-8")
    for text in ("Map of the embedding", "by true role", 'src="data:image/png', "No defense", "simclr"):
        assert text in page, text
    found = read_run(run)
    assert found.missing == ""
    assert found.role is not None
    assert found.features is not None
    assert int((found.role == 1).sum()) == found.results["poisoned"]


def test_the_classifiers_whose_saliency_is_shown_are_the_ones_that_were_evaluated(run: Path) -> None:
    found = read_run(run)
    assert found.no_attention == ""
    assert len(found.attention) == 6
    tables = [torch.load(p, weights_only=True) for p in sorted(run.glob("stages/*-triggered/table.pt"))]
    own, none = (t["prediction"] for t in tables)  # the recipe is evaluated first, then what it is compared with
    rows = torch.linspace(0, len(own) - 1, 6).round().long()
    for row, shown in zip(rows.tolist(), found.attention, strict=True):
        assert [look.model for look in shown.looks] == ["No defense", "knn"]
        assert [look.predicted for look in shown.looks] == [none[row], own[row]]
        assert 0 < shown.changed.float().mean() < 0.25


def test_the_neighbors_are_those_that_the_recipe_votes_by(run: Path) -> None:
    (table,) = (torch.load(p, weights_only=True) for p in run.glob("stages/*-embed/table.pt"))
    unit = torch.nn.functional.normalize(table["embedding"], dim=1)
    found = read_run(run)
    assert len(found.near) == 8
    assert set(found.near) <= set(found.images)
    for i, near in found.near.items():
        similar = unit @ unit[i]
        similar[i] = -1
        assert set(near) == set(similar.topk(8).indices.tolist())


def test_several_runs_need_a_place(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--out"):
        report([str(run), str(run)])
    page = report_runs([run, run], tmp_path / "both.html").read_text(encoding="utf-8")
    assert "Comparison of 2 runs" in page
    assert "<img" not in page


def test_without_the_data_or_the_stages_there_is_still_a_page(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, symlinks=True)
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("limit_train: 100", "limit_train: 90"))
    page = report_runs([copy]).read_text(encoding="utf-8")
    assert "No images are shown: the data have changed" in page
    assert "Map of the embedding" not in page


def test_what_is_no_run_is_refused_in_a_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the directory of a run"):
        report_runs([tmp_path])
    with pytest.raises(UsageError, match="is a folder"):
        report_runs([run], tmp_path)
    assert not list(tmp_path.iterdir())
