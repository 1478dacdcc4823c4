"""A lock that is removed while it is held never lets two in."""

import os
import socket
import subprocess
import sys
from functools import partial
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


@pytest.mark.parametrize("kind", ["folder", "link", "hard link", "pipe", "socket"])
def test_what_cannot_be_a_lock_is_named_and_not_followed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / ".lock", tmp_path / "other"
    other.write_text("dear")
    if kind == "socket":
        monkeypatch.chdir(tmp_path)  # the path of a socket has to be short
        socket.socket(socket.AF_UNIX).bind(path.name)
    else:
        {
            "folder": os.mkdir,
            "link": partial(os.symlink, other),
            "hard link": partial(os.link, other),
            "pipe": os.mkfifo,
        }[kind](path)
    with pytest.raises(OSError, match=r"\.lock is no file of its own where a lock belongs: remove it"):
        Lock(path, lease=0.0).acquire()
    assert other.read_text() == "dear"


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


def test_another_machine_that_shows_no_sign_of_life_loses_its_lock(tmp_path: Path) -> None:
    """Its kernel still holds the file, as a file server does for a node that has died."""
    gone, here = Lock(tmp_path / "lock", machine="gone"), Lock(tmp_path / "lock", lease=0.3)
    assert gone.acquire()  # touched every 10 seconds, so not within this lease
    assert not here.acquire(0.2)
    assert here.acquire(2.0)
    assert not gone.held()


def test_who_lost_its_lock_does_not_take_it_from_the_next_one(tmp_path: Path) -> None:
    asleep, here = Lock(tmp_path / "lock", machine="asleep"), Lock(tmp_path / "lock", lease=0.2)
    assert asleep.acquire()
    assert here.acquire(2.0)
    asleep.release()
    assert here.held()
    assert not Lock(tmp_path / "lock").acquire()


def test_another_machine_that_is_alive_keeps_its_lock(tmp_path: Path) -> None:
    alive, here = Lock(tmp_path / "lock", lease=0.6, machine="alive"), Lock(tmp_path / "lock", lease=0.6)
    assert alive.acquire()
    assert not here.acquire(1.5)
    assert alive.held()


def test_where_machines_do_not_see_each_others_locks_the_file_says_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda file, how: None)
    alive, here = Lock(tmp_path / "lock", lease=0.6, machine="alive"), Lock(tmp_path / "lock", lease=0.6)
    assert alive.acquire()
    assert not here.acquire(1.5)
    alive.release()
    assert here.acquire()


def test_this_machines_lock_is_never_broken_for_want_of_a_sign(tmp_path: Path) -> None:
    busy, here = Lock(tmp_path / "lock", lease=1000.0), Lock(tmp_path / "lock", lease=0.1)
    assert busy.acquire()
    assert not here.acquire(0.5)
