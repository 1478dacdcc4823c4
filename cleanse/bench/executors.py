"""Who runs the cells of a grid: processes on this machine, or Slurm's job arrays."""

import logging
import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cleanse.bench.apart import DEATHS
from cleanse.bench.part import Part, run_part
from cleanse.bench.results import MISSING, GridResults
from cleanse.bench.worker import device, threads_for
from cleanse.utils.files import atomic_write_text

log = logging.getLogger("cleanse")

POLL = 0.2


def run_local(words: Sequence[str], results: GridResults, workers: int) -> int:
    """Run a grid in several processes on this machine.

    One that is killed (by the kernel, for want of memory) is started again; a cell over which that happens three times
    is written down as failed.

    Args:
        words: the command of a worker; its place is added.
        results: of the grid.
        workers: how many.

    Returns:
        the exit status: 0 if all workers ended well.
    """
    running = {i: _start(words, i, workers) for i in range(workers)}
    deaths: dict[str, int] = {}
    worst, lives = 0, DEATHS * (len(results.left()) + workers)
    try:
        while running:
            time.sleep(POLL)
            for i, process in list(running.items()):
                status = process.poll()
                if status is None:
                    continue
                del running[i]
                if status >= 0:
                    worst = max(worst, status)
                elif (lives := lives - 1) < 0:
                    raise OSError(f"workers are killed by signal {-status} before they get anywhere: look at the log")
                elif results.left():
                    _count_death(results, process.pid, -status, deaths)
                    running[i] = _start(words, i, workers)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    results.collect()
    return worst


def _start(words: Sequence[str], i: int, workers: int) -> "subprocess.Popen[bytes]":
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(threads_for(workers)))
    if (gpus := _gpus()) and workers > 1:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[i % len(gpus)]
    return subprocess.Popen([*words, "--worker", f"{i + 1}/{workers}"], env=environment)


def _gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(i) for i in range(torch.cuda.device_count())]


def _count_death(results: GridResults, pid: int, signal: int, deaths: dict[str, int]) -> None:
    """Note over which cell a worker was killed, and give the cell up after a few times."""
    log.warning("a worker was killed by signal %d: it is started again", signal)
    for cell in results.left():
        if results.runner_of(cell) == pid:
            deaths[cell.id] = deaths.get(cell.id, 0) + 1
            if deaths[cell.id] >= DEATHS:
                why = f"the process that ran it was killed {DEATHS} times, last by signal {signal}"
                results.write_failed(cell, why, {"device": device()})


@dataclass(frozen=True)
class Slurm:
    """What a job array asks Slurm for.

    Attributes:
        jobs: how many jobs the cells that are left are dealt out to, at most.
        parallel: how many of them run at the same time, at most.
        partition, gres, cpus, hours: of each job; None for the cluster's default.
    """

    jobs: int = 100
    parallel: int = 10
    partition: str | None = None
    gres: str | None = None
    cpus: int | None = None
    hours: float = 4.0


def write_script(words: Sequence[str], results: GridResults, slurm: Slurm) -> Path | None:
    """Write a plain script for ``sbatch``, a job array over the cells that are left; None if none is left.

    Args:
        words: the command of a job; its shard is added.
        results: of the grid.
        slurm: what to ask for.
    """
    left = results.left()
    if not left:
        return None
    jobs = min(slurm.jobs, len(left))
    logs = _logs(results)
    asked = [
        f"--job-name=cleanse-{results.grid.name}",
        f"--array=0-{jobs - 1}%{slurm.parallel}",
        "--ntasks-per-node=1",
        f"--time={_clock(slurm.hours)}",
        "--signal=USR1@120",
        "--requeue",
        "--open-mode=append",
        f"--output={logs}/%A_%a.log",
    ]
    asked += [f"--partition={slurm.partition}"] if slurm.partition else []
    asked += [f"--gres={slurm.gres}"] if slurm.gres else []
    asked += [f"--cpus-per-task={slurm.cpus}"] if slurm.cpus else []
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {shlex.quote(option)}" for option in asked),  # a name or a path may have spaces
        f"# {len(left)} cells of {results.grid.path.name} in {jobs} jobs. A job that is requeued goes on where it was;",
        "# after jobs that were killed, make this script again: it has what is left.",
        f"cd {shlex.quote(os.getcwd())} || exit 1",
        f"srun --kill-on-bad-exit=1 {shlex.join(words)} "
        f"--cells {shlex.quote(','.join(cell.id for cell in left))} --shard $((SLURM_ARRAY_TASK_ID + 1))/{jobs}",
    ]
    path = results.folder / "slurm" / "array.sh"
    atomic_write_text(path, "\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


class Job:
    """One job of an array, for submitit: it can be called, and again after Slurm has put it back into the queue.

    Args:
        part: what it runs.
    """

    def __init__(self, part: Part) -> None:
        self.part = part

    def __call__(self) -> str:
        """Run the part; says how far the grid is then."""
        return status_line(run_part(self.part))

    def checkpoint(self) -> Any:
        """What submitit puts into the queue when the time is up: the same, every resume point is on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def submit(part: Part, results: GridResults, slurm: Slurm) -> list[Any]:
    """Submit a job array over the cells that are left, with submitit.

    Args:
        part: what is run; each job gets a shard of it.
        results: of the grid.
        slurm: what to ask for.

    Returns:
        submitit's jobs; none if no cell is left.

    Raises:
        ValueError: submitit is not installed, or there is no Slurm.
    """
    try:
        import submitit
    except ImportError:
        raise ValueError(
            "--executor slurm needs submitit: pip install cleanse[slurm], or use --executor slurm-script"
        ) from None
    left = results.left()
    jobs = min(slurm.jobs, len(left))
    try:
        executor = submitit.AutoExecutor(folder=_logs(results), cluster="slurm")
    except RuntimeError as error:
        raise ValueError(f"--executor slurm: {error}") from None
    executor.update_parameters(
        name=f"cleanse-{results.grid.name}", timeout_min=max(1, math.ceil(60 * slurm.hours)),
        slurm_array_parallelism=slurm.parallel, slurm_ntasks_per_node=1, slurm_signal_delay_s=120,
        **{f"slurm_{k}": v for k, v in (("partition", slurm.partition), ("gres", slurm.gres)) if v},
        **({"cpus_per_task": slurm.cpus} if slurm.cpus else {}),
    )  # fmt: skip
    only = tuple(cell.id for cell in left)
    shards = [Job(replace(part, only=only, shard=(i + 1, jobs))) for i in range(jobs)]
    with executor.batch():
        return [executor.submit(job) for job in shards]


def worker_command(grid: str, root: str, more: Sequence[str] = ()) -> list[str]:
    """The command that runs a part of a grid in a process of its own."""
    return [sys.executable, "-m", "cleanse", "bench", grid, "--root", root, *more]


def status_line(results: GridResults) -> str:
    """How far a grid is, in words."""
    count = {name: 0 for name in ("done", "failed", MISSING)}
    for cell in results.grid.cells:
        count[results.status(cell)] += 1
    return f"{len(results.grid.cells)} cells: {count['done']} done, {count['failed']} failed, {count[MISSING]} missing"


def _logs(results: GridResults) -> Path:
    folder = (results.folder / "slurm").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _clock(hours: float) -> str:
    minutes = max(1, math.ceil(60 * hours))
    return f"{minutes // 60:02d}:{minutes % 60:02d}:00"
