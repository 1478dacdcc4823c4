"""A lock between processes, by a file that is there only while somebody holds it."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path


class Lock:
    """Held by one process at a time; the kernel lets go of it when its holder dies.

    The file is removed while the lock is still held, never after: whoever has opened it in the meantime finds that the
    path leads to another file, or to none, and tries again. (Removed after the release, it would take a lock with it
    that the next one holds already.)

    Args:
        path: of the lock's file; the folder must be there.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: int | None = None

    def acquire(self, timeout: float = 0.0) -> bool:
        """Whether the lock is held now; tries for ``timeout`` seconds, at least once."""
        deadline = time.monotonic() + timeout
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def release(self) -> None:
        """Let the next one in; does nothing if the lock is not held."""
        if self._file is not None:
            file, self._file = self._file, None
            with suppress(OSError):  # a file that stays does no harm
                self.path.unlink()
            os.close(file)

    def _try(self) -> bool:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), os.lstat(self.path)):
                self._file = file
                return True
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return False
