"""One command computes a stage; the others wait and read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cleanse.engine.distributed import from_rank_zero, is_rank_zero
from cleanse.utils.lock import Lock

log = logging.getLogger("cleanse")


class StageBusy(Exception):
    """Another command is computing a stage, and this one was told not to wait.

    Attributes:
        path: of the lock's file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(f"another command is computing {stage_of(path)}")
        self.path = path


def stage_of(path: Path) -> str:
    """The stage's name and key, of its lock's file."""
    return path.name.strip(".").removesuffix(".lock")


@contextmanager
def only_one(path: Path, wait: bool = True) -> Iterator[Lock]:
    """Two commands that need the same stage do not make it twice: the second one waits and reads.

    Under DDP rank zero holds the lock; the waiting is done in short turns that all ranks share, so that no process
    group runs into its time limit.

    Args:
        path: of the lock's file, ``.<stage>.lock``.
        wait: for whoever has the lock.

    Raises:
        StageBusy: another command has it, and ``wait`` is false.
    """
    lock = Lock(path)

    def taken() -> bool:
        return not is_rank_zero() or lock.acquire(timeout=1.0 if wait else 0.1)

    said = False
    while not from_rank_zero(taken):
        if not wait:
            raise StageBusy(path)
        if not said:
            log.info("another command is computing %s: waiting for it", stage_of(path))
            said = True
    try:
        yield lock
    finally:
        lock.release()
