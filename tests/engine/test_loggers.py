"""What a run logs: CSV for each stage always; one W&B run per command, offline without a key."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from lightning.pytorch.loggers import WandbLogger
from wandb_records import records

from cleanse.engine.loggers import StageLoggers

Cleanse = Callable[..., "CompletedProcess[str]"]
TINY = (
    "fit", "--config", "ispl.yaml", "--config", "quick.yaml", "--data.limit_train", "150", "--data.limit_test", "50",
    "--model.passes", "1", "--model.rounds", "2", "--model.self_training_epochs", "1", "--model.epochs", "2",
    "--compare", "[]",
)  # fmt: skip


def test_wandb_offline_holds_every_stage_and_the_summary(cleanse: Cleanse, tmp_path: Path) -> None:
    """Nothing is asked, nothing needs an account; each stage has its prefix and step, the figures are the summary.

    The page's charts, galleries and tables are there, and curves of SA and ASR of every classifier.
    """
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    done = cleanse(
        *TINY,
        "--compare",
        "[none]",
        "--trainer.logger",
        "WandbLogger",
        WANDB_MODE="",
        WANDB_API_KEY="",
        NETRC=str(tmp_path / "none"),
    )
    assert "anonymous" not in done.stderr
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")  # one run per command
    history: dict[str, list[Any]] = {}
    summary, axes = {}, {}
    for content in records(file):
        record = pb.Record.FromString(content)
        for item in record.history.item:
            history.setdefault(item.key or "/".join(item.nested_key), []).append(item.value_json)
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = item.value_json
        if record.HasField("metric"):
            axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
    for stage in ("round-1.1", "round-1.2", "self_training", "classifier"):
        assert f"{stage}/train/loss" in history, sorted(history)
        assert f"{stage}/step" in history, sorted(history)
        assert axes[f"{stage}/*"] == f"{stage}/step"
    assert {"sa", "asr", "ra", "tmr", "tpr", "fpr", "none_sa", "none_asr"} <= set(summary)
    for stage, last in (("classifier", ""), ("none/classifier", "none_")):
        curves = {k: [float(v) for v in history[f"{stage}/{k}"]] for k in ("sa", "asr")}
        assert {k: len(curve) for k, curve in curves.items()} == {"sa": 2, "asr": 2}
        assert all(curves[k][-1] == pytest.approx(float(summary[last + k])) for k in curves)
    shown: dict[str, dict[str, Any]] = {}
    for key, values in history.items():
        if key.startswith("report/"):
            _, name, part = key.split("/")
            shown.setdefault(name, {})[part] = json.loads(values[0])
    assert {"classes", "score", "role", "suspicious", "saliency", "verdict_table", "classes_table"} <= set(shown)
    assert "round-1.1/sa" not in history
    assert shown["suspicious"]["count"] == 32
    table = json.loads((file.parent / "files" / shown["verdict_table"]["path"]).read_text())
    run = tmp_path / done.stdout.splitlines()[-1]
    with (run / "verdict.csv").open() as verdict:
        scores = sorted((float(row["score"]) for row in csv.DictReader(verdict)), reverse=True)
    assert [row[table["columns"].index("score")] for row in table["data"]] == pytest.approx(scores)
    pictured = [row[0] is not None for row in table["data"]]
    assert all(pictured[:32])
    assert not all(pictured)


def test_csv_is_always_there(cleanse: Cleanse, tmp_path: Path) -> None:
    run = tmp_path / cleanse(*TINY).stdout.splitlines()[-1]
    (file,) = (run / "stages").glob("*-classifier/metrics-1/metrics.csv")
    rows = list(csv.DictReader(file.open()))
    assert len(rows) == 2
    assert all(float(row["train/loss"]) > 0 for row in rows)


def test_metrics_never_go_where_something_is_already(tmp_path: Path) -> None:
    (tmp_path / "metrics-2").symlink_to("nowhere")
    assert StageLoggers(None).for_stage(tmp_path, "simclr")[0].version == "metrics-1"
    (tmp_path / "metrics-1").mkdir()
    assert StageLoggers(None).for_stage(tmp_path, "simclr")[0].version == "metrics-3"


def test_wandb_runs_are_written_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that a notebook with a run of its own calls share its service, which has the notebook's folder."""
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    loggers = StageLoggers([WandbLogger(offline=True), WandbLogger(offline=True, save_dir="there")])
    assert [logger._wandb_init["dir"] for logger in loggers.chosen] == [str(tmp_path), str(tmp_path / "there")]
    assert [logger.save_dir for logger in loggers.chosen] == [str(tmp_path), str(tmp_path / "there")]


def test_a_killed_wandb_run_is_gone_on_with_and_a_finished_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SERVICE", "")  # so that what the service of this run sets is taken back at the end
    monkeypatch.delenv("WANDB_SERVICE")
    record = tmp_path / "runs" / ".wandb-0123"

    def begin(**arguments: str) -> StageLoggers:
        return StageLoggers(WandbLogger(offline=True, save_dir=str(tmp_path), **arguments), record)

    first, again = begin(), begin()
    assert first.chosen[0].version == again.chosen[0].version
    assert begin(id="mine").chosen[0].version == "mine"
    again.summarize({"sa": 0.5})
    assert not record.exists()
    assert begin().chosen[0].version != first.chosen[0].version
    record.write_text("../../x\n")
    assert begin().chosen[0].version not in (None, "../../x")
