"""Cells that train on two processes, one of which is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cleanse.bench.apart import run_apart
from cleanse.bench.part import Part, run_part

GRID = """
recipes: {none: {configs: none.yaml, overrides: {model.epochs: 60}}}
data: {digits: quick.yaml}
overrides: {data.limit_train: 101, data.limit_test: 37, data.batch_size: 8, data.attack: null}
exclude: [{recipe: oracle}]
"""
TWO = "configs: [two.yaml]\n"
DEVICES = "trainer: {accelerator: cpu, devices: 2}\n"


def processes_below(pid: int) -> list[int]:
    """Children, and theirs."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found: list[int] = []
    for one in [p for p, parent in parents.items() if parent == pid]:
        found += [one, *processes_below(one)]
    return found


@pytest.mark.slow
def test_a_cell_of_two_processes_goes_on_after_one_is_killed_and_has_the_figures_of_one_process(tmp_path: Path) -> None:
    """101 images are uneven shards: 51 and 50."""
    (tmp_path / "tiny.yaml").write_text(GRID)
    one = run_part(Part(str(tmp_path / "tiny.yaml"), str(tmp_path / "one"))).table()
    (tmp_path / "tiny.yaml").write_text(GRID + TWO)
    (tmp_path / "two.yaml").write_text(DEVICES)
    bench = subprocess.Popen(
        [sys.executable, "-m", "cleanse", "bench", "tiny.yaml", "--root", "two"],
        cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CLEANSE_CHECKPOINT_SECONDS": "0"},  # a resume point every epoch
    )  # fmt: skip
    end = time.monotonic() + 200
    while not list(tmp_path.glob("two/classifier-*.part/last*.ckpt")):
        assert bench.poll() is None, bench.stderr and bench.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.1)
    fit, rank_one = processes_below(bench.pid)[:2]
    os.kill(rank_one, signal.SIGKILL)
    killed = time.monotonic()
    while Path(f"/proc/{fit}").exists() and time.monotonic() < killed + 60:
        time.sleep(0.05)
    assert time.monotonic() - killed < 30
    said = bench.communicate(timeout=200)[1]
    assert bench.returncode == 0, said
    assert said.count("a process of its training was killed: it goes on from the last resume point") == 1
    assert "Traceback" not in said
    two = pd.read_parquet(tmp_path / "two" / "bench" / "tiny.parquet")
    assert two["status"].tolist() == ["done"]
    assert two["sa"].tolist() == pytest.approx(one["sa"].tolist(), abs=1.5 / 37)


def test_what_the_command_says_is_why_the_cell_failed() -> None:
    with pytest.raises(ValueError, match=r"^there is no config file 'nowhere.yaml'"):
        run_apart(["fit", "--config", "nowhere.yaml"], "mine")
