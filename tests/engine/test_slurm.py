"""What a job script gets wrong is one sentence; the time limit's signal requeues at any moment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from cleanse.engine.slurm import be_alone, check_tasks, rank


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [*os.environ]:
        if name.startswith("SLURM") or name in ("RANK", "LOCAL_RANK"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, "put srun before the command"),
        ({"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}, "--ntasks-per-node=2"),
    ],
    ids=["without srun", "srun -n 2"],
)
def test_tasks_that_cannot_train_together_are_refused(
    job: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        job.setenv(name, value)
    with pytest.raises(ValueError, match=sentence):
        check_tasks()


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_NTASKS": "1"},
        {"SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_NTASKS_PER_NODE": "2"},
        {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"},
    ],
    ids=["no job", "one task", "two tasks by srun", "a shell in a job"],
)
def test_other_jobs_are_left_alone(job: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        job.setenv(name, value)
    check_tasks()


def test_a_command_of_one_process_runs_in_a_job_of_several_tasks(job: pytest.MonkeyPatch) -> None:
    """``cleanse poison`` after ``srun cleanse fit``; Lightning would refuse a Trainer of one device."""
    job.setenv("SLURM_NTASKS", "2")
    job.setenv("SLURM_JOB_NAME", "job")
    be_alone("poison")
    assert Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False).world_size == 1


def test_several_processes_of_a_command_of_one_are_refused(job: pytest.MonkeyPatch) -> None:
    job.setenv("SLURM_NTASKS", "2")
    job.setenv("SLURM_STEP_ID", "0")
    with pytest.raises(ValueError, match="cleanse export runs in one process, but srun has started 2"):
        be_alone("export")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, 0), ({"SLURM_PROCID": "1"}, 1), ({"RANK": "2", "LOCAL_RANK": "0"}, 2), ({"LOCAL_RANK": "1"}, 1)],
    ids=["alone", "srun", "torchrun on a second node", "Lightning's launcher"],
)
def test_the_first_process_of_all_nodes_is_known(
    job: pytest.MonkeyPatch, environment: dict[str, str], expected: int
) -> None:
    for name, value in environment.items():
        job.setenv(name, value)
    assert rank() == expected


def test_the_wrong_number_of_tasks_ends_the_command_with_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cleanse", "fit", "--config", "none.yaml", "--config", "quick.yaml"],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_STEP_ID": "0", "SLURM_PROCID": "0"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--ntasks-per-node=2" in done.stderr


SCRIPT = """
import os, signal, sys
from functools import partial
from cleanse.engine.slurm import requeue_on_signal
requeue_on_signal()
os.kill(os.getpid(), signal.SIGUSR1)  # before the first fit
import torch
torch.set_num_threads(1)
from lightning.pytorch import Callback
from cleanse.data import Digits
from cleanse.engine.runner import Runner
from cleanse.modules import Classifier
from cleanse.networks import SmallCNN

class Signal(Callback):
    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGUSR1)

view = Digits(limit_train=100, batch_size=32, seed=0).training_view()
run = Runner("runs", arguments={"accelerator": "cpu", "devices": 1})
make = partial(Classifier, SmallCNN, view.image_spec)
with run.watching([Signal()]):
    run.fit("one", make, view, max_epochs=3)
os.kill(os.getpid(), signal.SIGUSR1)  # between two stages
run.fit("two", make, view, max_epochs=1)
print(run.computed)
"""


def test_usr1_requeues_before_in_and_between_fits_and_leaves_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    (tools / "scontrol").chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NTASKS_PER_NODE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "2"
    assert (tmp_path / "asked").read_text() == "requeue 7\n" * 3
    assert not list((tmp_path / "runs").glob("*/hpc_ckpt*"))
    assert not list((tmp_path / "runs").glob("*/last*"))


def test_outside_of_slurm_the_signal_is_not_touched() -> None:
    script = (
        "import os, signal; from cleanse.engine.slurm import requeue_on_signal\n"
        "requeue_on_signal(); os.kill(os.getpid(), signal.SIGUSR1)"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGUSR1
