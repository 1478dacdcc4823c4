"""Shared fixtures: small data that trains in a second, and the command line as a user calls it."""

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import run_command

os.environ["OMP_NUM_THREADS"] = "1"  # tiny kernels on shared cores: two threads would wait for each other
os.environ["WANDB_MODE"] = "offline"

import torch

from cleanse.data import Digits
from cleanse.engine.runner import Runner
from cleanse.views import TrainingView

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real trainings first: a worker that begins one last is waited for by all others."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True)
def heard_once() -> None:
    """caplog gets each message once: a command that ran in this process keeps the log from the root logger, and newer
    versions of pytest then listen at ours, too."""
    logging.getLogger("cleanse").propagate = True


@pytest.fixture
def view() -> TrainingView:
    """200 digits with their labels."""
    return Digits(limit_train=200, batch_size=32, seed=0).training_view()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path / "runs", arguments={"accelerator": "cpu", "devices": 1})


Cleanse = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def cleanse(tmp_path: Path) -> Cleanse:
    """``cleanse("fit", "--config", ...)`` in a process of its own, from a temporary working directory."""

    def call(*arguments: str, check: bool = True, **environment: str) -> "subprocess.CompletedProcess[str]":
        done = run_command(arguments, tmp_path, **environment)
        if check and done.returncode:
            raise AssertionError(
                f"cleanse {' '.join(arguments)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    return call
