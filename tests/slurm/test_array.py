"""A real Slurm: a grid as a job array that is killed, requeued, drained; a training of two tasks, one of which dies."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from cleanse.bench.executors import Slurm, submit, worker_command, write_script
from cleanse.bench.grid import read_grid
from cleanse.bench.part import Part, run_part
from cleanse.bench.results import GridResults, figures_of

HERE = Path(__file__).parent
GRID = """
recipes: [none, oracle]
attacks: [badnets, blend]
data: {digits: quick.yaml}
rates: [0.1]
seeds: [0, 1]
overrides: {data.limit_train: 80, data.limit_test: 40, model.epochs: 2, data.attack.target: 0}
"""


def why_not() -> str:
    """Why there is no Slurm for the tests; empty where there is one."""
    if not Path("/etc/debian_version").is_file():
        return "this is no Debian"
    if os.geteuid() != 0:
        return "Slurm's daemons are started as root here"
    missing = [name for name in ("slurmctld", "slurmd", "munged") if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed: apt-get install slurm-wlm munge" if missing else ""


pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Slurm of one node."""
    folder = tmp_path_factory.mktemp("slurm")
    patch = pytest.MonkeyPatch()
    for name in [*os.environ]:
        if name.startswith(("SLURM", "SBATCH")):
            patch.delenv(name)
    patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("PYTHONPATH", str(HERE.parents[1]))
    try:
        started = subprocess.run([HERE / "start.sh", folder], capture_output=True, text=True, timeout=120)
        if started.returncode:
            pytest.skip(f"Slurm does not start on this machine: {started.stderr.strip()}")
        yield folder
    finally:
        subprocess.run([HERE / "stop.sh", folder])
        patch.undo()


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("grid") / "array.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture(scope="module")
def expected(grid: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of one process that nobody disturbs."""
    return figures_of(run_part(Part(str(grid), str(tmp_path_factory.mktemp("undisturbed")))).table())


def ask(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def until(holds: Callable[[], object], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, ask("squeue", "--array")
        time.sleep(0.3)


def running() -> list[str]:
    """Jobs that run, as <array>_<index>."""
    return ask("squeue", "-h", "--array", "-t", "RUNNING", "-o", "%F_%K").split()


def submit_script(grid: Path, root: Path) -> str:
    results = GridResults(read_grid(str(grid)), root)
    script = write_script(worker_command(str(grid), str(root)), results, Slurm(jobs=8, parallel=2, hours=0.2))
    return ask("sbatch", "--parsable", str(script))


@pytest.mark.slow
def test_an_array_that_is_disturbed_makes_the_undisturbed_table(
    slurm: Path, grid: Path, expected: pd.DataFrame, tmp_path: Path
) -> None:
    node = ask("sinfo", "-h", "-o", "%N")
    job = submit_script(grid, tmp_path)
    until(lambda: f"{job}_0" in running())
    time.sleep(1.0)
    ask("scancel", "--signal=KILL", "--full", f"{job}_0")
    until(lambda: f"{job}_1" in running())
    ask("scontrol", "requeue", f"{job}_1")
    until(lambda: len(running()) > 0)
    ask("scontrol", "update", f"nodename={node}", "state=drain", "reason=test")
    until(lambda: not running())
    ask("scontrol", "update", f"nodename={node}", "state=resume")
    until(lambda: not ask("squeue", "-h"))
    left = GridResults(read_grid(str(grid)), tmp_path).left()
    assert len(left) == 1  # the killed one's: what is requeued or waits comes back by itself
    submit_script(grid, tmp_path)
    until(lambda: not ask("squeue", "-h"))
    table = figures_of(pd.read_parquet(tmp_path / "bench" / "array.parquet"))
    pd.testing.assert_frame_equal(table, expected)


def test_submitit_makes_the_same_table(slurm: Path, grid: Path, expected: pd.DataFrame, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    part = Part(str(grid), str(tmp_path))
    results = GridResults(read_grid(str(grid)), tmp_path)
    jobs = submit(part, results, Slurm(jobs=2, parallel=2, hours=0.2))
    assert [job.result() for job in jobs][-1].startswith("8 cells")
    table = figures_of(pd.read_parquet(results.parquet))
    pd.testing.assert_frame_equal(table, expected)


TASKS = """#!/bin/bash
#SBATCH --nodes=1 --ntasks-per-node=2 --time=10 --requeue
srun --kill-on-bad-exit=1 {python} -m cleanse fit {fit} --trainer.devices 2 --root {root}
"""
FIT = (
    "--config", "none.yaml", "--config", "quick.yaml", "--data.limit_train", "101", "--data.limit_test", "37",
    "--data.batch_size", "8", "--data.attack", "null", "--model.epochs", "30", "--compare", "[]",
    "--trainer.accelerator", "cpu",
)  # fmt: skip


def weights(root: Path) -> dict[str, torch.Tensor]:
    (checkpoint,) = root.glob("classifier-*/model.ckpt")
    found: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return found


def second_task(job: str) -> int:
    """The process of a job's second task."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            names = dict(line.partition("=")[::2] for line in environment.read_text().split("\0"))
            command = (environment.parent / "cmdline").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if (names.get("SLURM_JOB_ID"), names.get("SLURM_PROCID")) == (job, "1") and "cleanse" in command:
            return int(environment.parent.name)
    raise AssertionError(f"job {job} has no second task")


@pytest.mark.slow
def test_two_tasks_of_srun_one_of_which_is_killed_end_with_the_weights_of_one_process(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """101 images are uneven shards; the first job ends soon after its second task has died, the same job goes on."""
    monkeypatch.setenv("CLEANSE_CHECKPOINT_SECONDS", "0")  # a resume point every epoch
    script = tmp_path / "tasks.sh"
    script.write_text(TASKS.format(python=sys.executable, fit=shlex.join(FIT), root=tmp_path / "two"))
    submitted = ("sbatch", "--parsable", f"--output={tmp_path}/out.txt", "--open-mode=append", str(script))
    job = ask(*submitted)
    until(lambda: list(tmp_path.glob("two/classifier-*.part/last.ckpt")))
    os.kill(second_task(job), signal.SIGKILL)
    until(lambda: not ask("squeue", "-h"), seconds=60)
    assert not list(tmp_path.glob("two/classifier-*/model.ckpt"))
    assert (tmp_path / "out.txt").read_text().count("another process of this run has ended") == 1
    ask(*submitted)
    until(lambda: not ask("squeue", "-h"))
    said = (tmp_path / "out.txt").read_text()
    assert said.count("2 stages to do") == 2, said  # the first task of either job
    assert said.count("classifier: going on where it was stopped") == 1
    assert "Traceback" not in said
    subprocess.run([sys.executable, "-m", "cleanse", "fit", *FIT, "--root", str(tmp_path / "one")], check=True)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)


def test_the_script_says_what_it_asks_for(grid: Path, tmp_path: Path) -> None:
    results = GridResults(read_grid(str(grid)), tmp_path)
    asked = Slurm(jobs=3, parallel=2, partition="gpu", gres="gpu:1", cpus=4, hours=1.5)
    script = write_script([sys.executable, "-m", "cleanse", "bench", str(grid)], results, asked)
    assert script is not None
    lines = script.read_text().splitlines()
    for option in (
        "--array=0-2%2", "--partition=gpu", "--gres=gpu:1", "--cpus-per-task=4", "--time=01:30:00", "--requeue",
        "--signal=USR1@120",
    ):  # fmt: skip
        assert f"#SBATCH {option}" in lines
    assert lines[-1].endswith("--shard $((SLURM_ARRAY_TASK_ID + 1))/3")
