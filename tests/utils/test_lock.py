"""A lock that is removed while it is held never lets two in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cleanse.utils.lock import Lock

WORKER = """
import os, sys, time
from cleanse.utils.lock import Lock
folder, turns = sys.argv[1], int(sys.argv[2])
inside, overlaps = os.path.join(folder, "inside"), 0
for _ in range(turns):
    lock = Lock(os.path.join(folder, "lock"))
    while not lock.acquire(5.0):
        pass
    try:
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        overlaps += 1
    else:
        time.sleep(0.0002)
        os.unlink(inside)
    lock.release()
print(overlaps)
"""


def test_twelve_hundred_acquisitions_by_four_processes_do_not_overlap(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WORKER, str(tmp_path), "300"]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    overlaps = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert overlaps == [0, 0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_the_second_one_waits_until_the_first_lets_go(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert first.acquire()
    assert not second.acquire(0.05)
    first.release()
    assert second.acquire()
    second.release()
    assert not (tmp_path / "lock").exists()


def test_a_killed_holder_holds_nobody_up(tmp_path: Path) -> None:
    script = "import os, sys; from cleanse.utils.lock import Lock; Lock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "lock")])
    assert (tmp_path / "lock").exists()
    assert Lock(tmp_path / "lock").acquire()


def test_who_comes_at_the_very_moment_of_the_release_is_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file must not be removed once the next one can have it."""
    first, second, third = (Lock(tmp_path / "lock") for _ in range(3))
    close = os.close

    def close_and_let_in(file: int) -> None:
        close(file)
        monkeypatch.setattr(os, "close", close)
        assert second.acquire()

    assert first.acquire()
    monkeypatch.setattr(os, "close", close_and_let_in)
    first.release()
    assert not third.acquire()
    second.release()
    assert third.acquire()
