"""What Slurm asks of a run: one task for each process, and to go on in a new job when the time is up."""

import logging
import os
import signal
import subprocess
from types import FrameType

log = logging.getLogger("cleanse")

STEP = {"SLURM_STEP_ID", "SLURM_STEPID"}
"""One of them is there where srun has started the process."""


def rank() -> int:
    """Which process this is, by what torchrun, Slurm or Lightning's own launcher has put into the environment.

    >>> from unittest.mock import patch
    >>> with patch.dict(os.environ, {"SLURM_PROCID": "3"}, clear=True):
    ...     rank()
    3
    """
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"):
        if os.environ.get(name, "").isdigit():
            return int(os.environ[name])
    return 0


def check_tasks() -> None:
    """Raises: ValueError if a job has several tasks, but not in the way that makes processes that train together."""
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if not tasks.isdigit() or int(tasks) < 2 or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return
    if not (STEP & os.environ.keys()):
        raise ValueError(
            f"this Slurm job has {tasks} tasks, but only one was started: put srun before the command, or ask for one "
            "task (--ntasks-per-node=1)"
        )
    if "SLURM_NTASKS_PER_NODE" not in os.environ:
        raise ValueError(
            f"this Slurm job asks for {tasks} tasks by -n or --ntasks: give their number on each node instead "
            f"(--ntasks-per-node={tasks} on one node), and as many --trainer.devices"
        )


def be_alone(command: str) -> None:
    """Let a command of one process run in a job of several tasks, such as after ``srun cleanse fit`` in its script.

    Lightning would take this process for one of them and refuse.

    Args:
        command: its name.

    Raises:
        ValueError: several tasks were started, which would all write the same.
    """
    tasks = os.environ.get("SLURM_NTASKS", "1")
    if not tasks.isdigit() or int(tasks) < 2:
        return
    if STEP & os.environ.keys():
        raise ValueError(
            f"cleanse {command} runs in one process, but srun has started {tasks}: leave srun out, or say srun "
            "--ntasks=1"
        )
    del os.environ["SLURM_NTASKS"]


def requeue_on_signal() -> None:
    """Under Slurm, let USR1 put the job back into the queue, at whatever moment it comes (D4).

    ``#SBATCH --signal=USR1@120`` sends it two minutes before the time limit. The run itself goes on until Slurm ends
    it; the new job goes on from the last resume point. Does nothing outside of Slurm, and where the signal is handled.
    """
    if "SLURM_JOB_ID" in os.environ and signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal.signal(signal.SIGUSR1, _requeue)


def _requeue(number: int, frame: FrameType | None) -> None:
    if rank() == 0:
        job = os.environ["SLURM_JOB_ID"]
        try:
            done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
            said = done.stderr.strip() if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error)
        if said:
            log.warning("Slurm does not requeue job %s (%s): the same command goes on from here", job, said)
        else:
            log.info("job %s is put back into the queue, and goes on from here", job)
