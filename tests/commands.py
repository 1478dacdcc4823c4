"""Commands in processes of their own that need not wait for torch: they are forked where its import is done."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["cleanse.cli.fit", "cleanse.cli.main", "cleanse.defenses", "commands"])


def run_forked(arguments: Sequence[str], cwd: Path, seconds: float) -> "CompletedProcess[str]":
    """As ``cleanse ARGUMENTS`` says and ends, without a new interpreter: for one process that asks for no other.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("out", "err")]
        process = _FORKS.Process(target=_command, args=(list(arguments), cwd, dict(os.environ), said))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            raise TimeoutExpired(list(arguments), seconds)
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
