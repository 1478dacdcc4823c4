"""Commands in processes of their own. On Linux most are forked where torch is imported already, which takes seconds."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

HANGING = 1800
"""Seconds: a guard, since machines are shared."""


def run_command(arguments: Sequence[str], cwd: Path, **environment: str) -> "CompletedProcess[str]":
    """What ``cleanse ARGUMENTS`` says, and how it ends.

    A new interpreter for what is read before any import, for what starts processes like itself, and on macOS, whose
    libraries do not all bear a fork.

    Raises:
        subprocess.TimeoutExpired: it hangs.
    """
    if environment or "--trainer.devices" in arguments or sys.platform != "linux":
        return subprocess.run(
            [sys.executable, "-m", "cleanse", *arguments], cwd=cwd, env={**os.environ, **environment},
            capture_output=True, text=True, timeout=HANGING,
        )  # fmt: skip
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["cleanse.cli.fit", "cleanse.cli.main", "cleanse.defenses", "commands"])
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("out", "err")]
        process = forks.Process(target=_command, args=(list(arguments), cwd, dict(os.environ), said))
        process.start()
        process.join(HANGING)
        if process.exitcode is None:
            process.kill()
            raise TimeoutExpired(list(arguments), HANGING)
        return CompletedProcess(list(arguments), process.exitcode, *(path.read_text() for path in said))


def _command(arguments: list[str], cwd: Path, environment: dict[str, str], said: Sequence[Path]) -> None:
    for descriptor, path in zip((1, 2), said, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["cleanse", *arguments]
    from cleanse.cli.main import main

    main()
