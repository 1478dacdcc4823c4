"""All stages under a root: how large they are, which runs need them, and the removal of those that none needs."""

import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cleanse.utils.files import read_small
from cleanse.utils.lock import Lock


@dataclass(frozen=True)
class StoredStage:
    """A stage on disk.

    Attributes:
        path: its directory.
        size: bytes of its files.
        changed: seconds since the epoch at which its record was written, or its newest file if it is unfinished.
        seconds: that it took to make; None if it is unfinished.
        runs: names of the runs that link to it.
    """

    path: Path
    size: int
    changed: float
    seconds: float | None
    runs: tuple[str, ...]

    @property
    def finished(self) -> bool:
        """Whether it is complete; the other kind is what a command left that was stopped."""
        return self.path.suffix != ".part"


def stored_stages(root: str | Path) -> list[StoredStage]:
    """The stages of a root, the largest first.

    Raises:
        ValueError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise ValueError(f"--root: there is no folder {str(root)!r}")
    needed: dict[str, list[str]] = {}
    for run, stage in _links(root):
        needed.setdefault(stage, []).append(run)
    found = []
    for entry in os.scandir(root):
        path = root / entry.name
        if not entry.is_dir(follow_symlinks=False) or not _is_stage(path):
            continue
        seconds = _seconds(path)
        sizes, times = zip(*_files(path), strict=True) if any(True for _ in _files(path)) else ((0,), (0.0,))
        record = path / "stage.json"
        changed = record.stat().st_mtime if record.is_file() else max(*times, path.stat().st_mtime)
        found.append(StoredStage(path, sum(sizes), changed, seconds, tuple(sorted(set(needed.get(entry.name, []))))))
    return sorted(found, key=lambda stage: (-stage.size, stage.path.name))


def removable(stages: Iterable[StoredStage], older: float = 0.0) -> list[StoredStage]:
    """Those that no run links to.

    Args:
        stages: of one root.
        older: seconds since they were made, at least.
    """
    return [stage for stage in stages if not stage.runs and time.time() - stage.changed >= older]


def prune(root: str | Path, older: float) -> list[StoredStage]:
    """Remove the stages that no run links to and that nobody is computing; those that were removed.

    What links to a stage is looked up again right before each removal.

    Args:
        root: of all runs and stages.
        older: seconds since they were made, at least.
    """
    root, removed = Path(root), []
    for stage in removable(stored_stages(root), older):
        lock = Lock(root / f".{stage.path.name.removesuffix('.part')}.lock")
        if not lock.acquire():
            continue  # somebody is at it
        try:
            if any(name == stage.path.name for _, name in _links(root)) or not stage.path.is_dir():
                continue
            aside = root / f".{stage.path.name}.{secrets.token_hex(4)}.removed"
            stage.path.rename(aside)  # at once, so that nobody finds half of it
            shutil.rmtree(aside)
            removed.append(stage)
        finally:
            lock.release()
    return removed


def _is_stage(path: Path) -> bool:
    return (path / "stage.json").is_file() if path.suffix != ".part" else not path.name.startswith(".")


def _links(root: Path) -> Iterator[tuple[str, str]]:
    """(run, directory of a stage in this root) for every link of every run."""
    for folder in root.glob("*/stages"):
        if not folder.is_dir():
            continue
        for link in os.scandir(folder):
            if link.is_symlink():
                target = Path(os.path.normpath(folder / os.readlink(link.path)))
                if os.path.realpath(target.parent) == os.path.realpath(root):
                    yield folder.parent.name, target.name


def _files(path: Path) -> Iterator[tuple[int, float]]:
    """Size and time of each file below a folder; one that goes meanwhile is passed over."""
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            yield found.st_size, found.st_mtime


def _seconds(path: Path) -> float | None:
    try:
        return float(json.loads(read_small(path / "stage.json"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
