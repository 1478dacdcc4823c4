"""What a run logs: CSV for each stage always; one W&B run per command, offline without a key."""

import csv
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

Cleanse = Callable[..., "CompletedProcess[str]"]
TINY = (
    "fit", "--config", "ispl.yaml", "--config", "quick.yaml", "--data.limit_train", "150", "--data.limit_test", "50",
    "--model.passes", "1", "--model.rounds", "2", "--model.self_training_epochs", "1", "--model.epochs", "2",
    "--compare", "[]",
)  # fmt: skip


def records(path: Path) -> Iterator[bytes]:
    """The records of an offline W&B file (LevelDB's log format: blocks of 32 KiB, fragments with a 7-byte header)."""
    content, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        held += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last fragment of one
            yield held
            held = b""


def test_wandb_offline_holds_every_stage_and_the_summary(cleanse: Cleanse, tmp_path: Path) -> None:
    """Nothing is asked, nothing needs an account; each stage has its prefix and step, the figures are the summary."""
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    done = cleanse(
        *TINY, "--trainer.logger", "WandbLogger", WANDB_MODE="", WANDB_API_KEY="", NETRC=str(tmp_path / "none")
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
        assert f"{stage}/train/loss" in history and f"{stage}/step" in history, sorted(history)
        assert axes[f"{stage}/*"] == f"{stage}/step"
    assert {"sa", "asr", "ra", "tmr", "tpr", "fpr"} <= set(summary)


def test_csv_is_always_there(cleanse: Cleanse, tmp_path: Path) -> None:
    run = tmp_path / cleanse(*TINY).stdout.splitlines()[-1]
    (file,) = (run / "stages").glob("*-classifier/metrics-1/metrics.csv")
    rows = list(csv.DictReader(file.open()))
    assert len(rows) == 2 and all(float(row["train/loss"]) > 0 for row in rows)
