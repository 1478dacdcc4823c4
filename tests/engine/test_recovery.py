"""kill -9 in the middle of a recipe; run again; the same bits as an undisturbed run."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch

from cleanse.verdict import Verdict

FIT = (
    "fit", "--config", "ispl.yaml", "--config", "quick.yaml", "--data.limit_train", "200", "--data.limit_test", "50",
    "--model.passes", "1", "--model.rounds", "4", "--model.self_training_epochs", "20", "--model.epochs", "20",
    "--compare", "[]",
)  # fmt: skip


def start(where: Path) -> "subprocess.Popen[str]":
    where.mkdir(exist_ok=True)
    environment = {**os.environ, "CLEANSE_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "cleanse", *FIT], cwd=where, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def kill_when(where: Path, pattern: str) -> None:
    """Start, and kill -9 once a file matches in the runs."""
    process = start(where)
    deadline = time.monotonic() + 200
    while process.poll() is None and not list((where / "runs").glob(pattern)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, f"over before {pattern} was there"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_killed_three_times_and_still_the_same_bits(tmp_path: Path) -> None:
    """In a round, between a round and its votes, and in the final training."""
    undisturbed = start(tmp_path / "whole")
    for pattern in ("round-1.2-*.part/last.ckpt", "round-1.3-*", "classifier-*.part/last.ckpt"):
        kill_when(tmp_path / "killed", pattern)
    last = start(tmp_path / "killed")
    out, err = last.communicate(timeout=300)
    assert last.returncode == 0, err
    assert "stages were on disk already" in err
    expected, said = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, said
    assert out == expected
    name = out.splitlines()[-1]
    a, b = (tmp_path / where / name for where in ("killed", "whole"))
    weights = [torch.load(run / "model.ckpt", weights_only=True)["state_dict"] for run in (a, b)]
    assert all(torch.equal(v, weights[1][k]) for k, v in weights[0].items())
    verdicts = [Verdict.load(run) for run in (a, b)]
    assert verdicts[0].hash() == verdicts[1].hash() and torch.equal(verdicts[0].score, verdicts[1].score)
    assert not list((tmp_path / "killed" / "runs").glob("*.part"))
