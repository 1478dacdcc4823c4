"""A cell on several devices: a command of its own, whose processes Lightning starts (D352)."""

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO

from cleanse.engine.distributed import LOST
from cleanse.experiments.experiment import Experiment

log = logging.getLogger("cleanse")

DEATHS = 3
"""How often a process may be killed over the same cell before the cell counts as failed."""
SAID = "cleanse: "
"""How the command line begins the sentence that it ends with."""


def run_apart(words: Sequence[str], title: str) -> Experiment:
    """Run ``cleanse`` with these arguments, and read back what it left.

    Lightning starts the other processes by repeating the command that it finds itself in, so that must be one of a
    single cell. If one of them is killed, the others end, and the command is started again from the last resume point.

    Args:
        words: ``fit`` and its arguments.
        title: of the cell.

    Raises:
        ValueError: what the command said.
        OSError: its processes were killed several times.
    """
    for _ in range(DEATHS):
        status, directory, sentences = _run([sys.executable, "-m", "cleanse", *words])
        if status == 0:
            return Experiment.load(directory)
        reasons = [sentence for sentence in sentences if not sentence.startswith(LOST)]
        if status > 0 and (reasons or not sentences):
            raise ValueError(reasons[0] if reasons else f"its command ended with status {status}")
        log.warning("cell %s: a process of its training was killed: it goes on from the last resume point", title)
    raise OSError(f"a process of its training was killed {DEATHS} times")


def _run(command: Sequence[str]) -> tuple[int, str, list[str]]:
    """The exit status, the last line of the output, and the sentences that its processes ended with."""
    sentences: list[str] = []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, _ends_at_sigterm():
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        )
        reader = threading.Thread(target=_pass_on, args=(process.stderr, sentences), daemon=True)
        reader.start()
        try:
            status = process.wait()
        finally:
            with suppress(ProcessLookupError):  # all of its processes: one that hangs holds what the next ones need
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            reader.join(5.0)
        out.seek(0)
        lines = out.read().splitlines()
    return status, lines[-1] if lines else "", sentences


def _pass_on(stream: IO[str], sentences: list[str]) -> None:
    """Show what the command says, and keep how it ended."""
    for line in stream:
        if line.startswith(SAID):
            sentences.append(line.removeprefix(SAID).strip())
        else:
            sys.stderr.write(line)


@contextmanager
def _ends_at_sigterm() -> Iterator[None]:
    """Inside the block, SIGTERM is an exit, so that what was started is ended too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
