"""One command computes a stage; the others wait and read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cleanse.engine.distributed import from_rank_zero, is_rank_zero
from cleanse.utils.lock import Lock

log = logging.getLogger("cleanse")


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Two commands that need the same stage do not make it twice: the second one waits and reads.

    Under DDP rank zero holds the lock; the waiting is done in short turns that all ranks share, so that no process
    group runs into its time limit.

    Args:
        path: of the lock's file, ``.<stage>.lock``.
    """
    lock = Lock(path)

    def taken() -> bool:
        return not is_rank_zero() or lock.acquire(timeout=1.0)

    said = False
    while not from_rank_zero(taken):
        if not said:
            log.info("another command is computing %s: waiting for it", path.name.strip(".").removesuffix(".lock"))
            said = True
    try:
        yield
    finally:
        lock.release()
