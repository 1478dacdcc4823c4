"""A lock between processes, also of several machines, by a file that is there only while somebody holds it."""

import errno
import fcntl
import os
import stat
import threading
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

LEASE = 60.0
"""Seconds without a sign of life after which a machine's lock is broken by another one (D301)."""


class Lock:
    """Held by one process at a time, and not for longer than its holder lives.

    On one machine the kernel lets go of it when its holder dies (``flock``). Between machines that is not sure: on some
    file systems each machine sees its own locks only, on others those of a machine that has died stay. So the file also
    names the machine of its holder, who touches it now and then; a lock of another machine that was not touched for the
    length of a lease, by the observer's own clock, is broken. No two clocks are compared. A holder that was only asleep
    notices it (`held`).

    The file is removed while the lock is still held, never after: whoever has opened it in the meantime finds that the
    path leads to another file, or to none, and tries again. (Removed after the release, it would take a lock with it
    that the next one holds already.)

    Args:
        path: of the lock's file; the folder must be there.
        lease: seconds; the same for all who use the lock.
        machine: whose lock it is; None for this one, until it is started anew.
    """

    def __init__(self, path: str | Path, lease: float = LEASE, machine: str | None = None) -> None:
        self.path, self.lease = Path(path), lease
        self.machine = this_machine() if machine is None else machine
        self._file: int | None = None
        self._stop = threading.Event()
        self._seen: tuple[bytes, int, int] | None = None
        self._since = 0.0

    def acquire(self, timeout: float = 0.0) -> bool:
        """Whether the lock is held now; tries for ``timeout`` seconds, at least once.

        Raises:
            OSError: its file cannot be made there.
        """
        deadline = time.monotonic() + timeout
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    def release(self) -> None:
        """Let the next one in; does nothing if the lock is not held."""
        if self._file is not None:
            self._stop.set()
            mine, file, self._file = self.held(), self._file, None
            if mine:
                with suppress(OSError):  # a file that stays does no harm
                    self.path.unlink()
            os.close(file)

    def held(self) -> bool:
        """Whether the lock is still this one's: another machine may have broken it while this one was asleep."""
        try:
            return self._file is not None and os.path.samestat(os.fstat(self._file), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _try(self) -> bool:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(self.path, flags, 0o666)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise
            raise OSError(f"{self.path} is no file of its own where a lock belongs: remove it") from None
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:  # writing to it would change what it is linked to
            os.close(file)
            raise OSError(f"{self.path} is no file of its own where a lock belongs: remove it")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), os.lstat(self.path)) and (self._is_ours(file) or self._is_over(file)):
                self._take(file)
                return True
        except BlockingIOError:
            if not self._is_ours(file) and self._is_over(file):
                with suppress(FileNotFoundError):
                    self.path.unlink()  # the next try makes a new one, which the dead machine's lock is not on
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return False

    def _take(self, file: int) -> None:
        """Write down whose it is, and begin to give signs of life."""
        os.ftruncate(file, 0)
        os.pwrite(file, self.machine.encode(), 0)
        self._file, self._stop = file, threading.Event()
        threading.Thread(target=_touch, args=(file, self._stop, self.lease / 6), daemon=True).start()

    def _is_ours(self, file: int) -> bool:
        """Whether the kernel's word is enough: nobody's lock, or one of this machine."""
        return os.pread(file, 200, 0) in (b"", self.machine.encode())

    def _is_over(self, file: int) -> bool:
        """Whether another machine's lock has not been touched while this one watched for the length of a lease."""
        found = os.fstat(file)
        seen = (os.pread(file, 200, 0), found.st_ino, found.st_mtime_ns)
        if seen != self._seen:
            self._seen, self._since = seen, time.monotonic()
        return time.monotonic() - self._since >= self.lease


def _touch(file: int, stop: threading.Event, every: float) -> None:
    """Set the file's time to now, by the clock of the disk's server, until told to stop."""
    while not stop.wait(every):
        with suppress(OSError):  # the next time may be better
            os.utime(file)


@cache
def this_machine() -> str:
    """What tells this machine, since it was started, from all others."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{uuid.getnode():012x}"
