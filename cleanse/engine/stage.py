"""One stage of a run on disk: a directory that is complete or not there."""

import hashlib
import json
import logging
import math
from pathlib import Path
from typing import Any

import torch

from cleanse.utils.files import atomic_write, atomic_write_text, digest_of, read_small, remove
from cleanse.version import __version__

log = logging.getLogger("cleanse")


class Stage:
    """A directory ``<root>/<name>-<key>/``, made as ``<name>-<key>.part/`` and renamed when complete.

    Args:
        root: of all stages.
        name: of the stage.
        spec: what it is made from, as plain values; its hash is the key, and the seed is drawn from the key.
        result: the file that it leaves, ``model.ckpt`` or ``table.pt``.
    """

    def __init__(self, root: Path, name: str, spec: dict[str, Any], result: str = "model.ckpt") -> None:
        self.name, self.spec, self.result = name, spec, result
        self.key = key_of(spec)
        self.seed = seed_of(self.key)
        self.seconds = 0.0
        self.place(root)

    def place(self, root: Path) -> None:
        """Live in this root."""
        self.directory = root / f"{self.name}-{self.key}"
        self.part = root / f"{self.name}-{self.key}.part"
        self.lock = root / f".{self.name}-{self.key}.lock"

    def is_committed(self) -> bool:
        """Whether the stage is complete on disk and as it was written; changes nothing."""
        return self.damage() is None

    def damage(self) -> str | None:
        """What is wrong with the stage on disk: empty if it is not there at all, None if it is sound."""
        if not self.directory.exists() and not self.directory.is_symlink():
            return ""
        try:
            record = json.loads(read_small(self.directory / "stage.json"))
            files = dict(record["files"])
            seconds = float(record["seconds"])
            if self.result not in files:
                raise ValueError(f"no {self.result} on its list of files")
            if not (math.isfinite(seconds) and seconds >= 0):
                raise ValueError(f"it took {seconds} seconds")
            for name, digest in files.items():
                if Path(name).name != name:
                    raise ValueError(f"{name!r} is no plain file name")
                if digest_of(self.directory / name) != digest:
                    raise ValueError(f"{name} has changed")
            self._look_into(self.directory / self.result)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return str(error) or type(error).__name__
        self.seconds = seconds
        if record.get("version") != __version__:
            log.warning("%s was made by cleanse %s, this is %s", self.directory, record.get("version"), __version__)
        return None

    def discard(self, why: str) -> None:
        """Remove what is damaged, with a warning: the stage is made again."""
        log.warning("%s is damaged (%s): it is made again", self.directory, why)
        remove(self.directory)

    def open(self) -> None:
        """Make the directory to compute in, or go on with the one that a killed command has left.

        Links in it are removed, whatever they lead to, and folders where files belong: what is written there next stays
        in the directory.
        """
        if self.part.is_symlink() or (self.part.exists() and not self.part.is_dir()):
            log.warning("%s is no folder: it is removed", self.part)
            self.part.unlink()
        self.part.mkdir(parents=True, exist_ok=True)
        for left in self.part.iterdir():
            begun = left.name.startswith("hpc_ckpt_")  # Lightning would begin there under Slurm, unasked
            ours = left.name in (self.result, "stage.json") or left.name.startswith("last.")
            if begun or left.is_symlink() or (ours and not left.is_file()):
                remove(left)

    def save(self, content: dict[str, Any]) -> None:
        """Write the result into the directory that the stage is computed in."""
        with atomic_write(self.part / self.result, "wb") as file:
            torch.save(content, file)

    def load(self) -> dict[str, Any]:
        """The result, on the CPU; it holds tensors and plain values, never code."""
        return torch.load(self.directory / self.result, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]

    def commit(self) -> None:
        """Complete: forget the resume point, write the record, rename."""
        for pattern in ("last.*", "hpc_ckpt_*", ".*.aside"):
            for left in self.part.glob(pattern):
                remove(left)
        files = {self.result: digest_of(self.part / self.result)}
        record = {**self.spec, "key": self.key, "version": __version__, "seconds": self.seconds, "files": files}
        atomic_write_text(self.part / "stage.json", json.dumps(record, indent=1, sort_keys=True))
        self.part.replace(self.directory)

    def _look_into(self, path: Path) -> None:
        """Raises: ValueError if a file of ours does not hold what a stage leaves, such as code."""
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except OSError:
            raise
        except Exception as error:  # whatever torch makes of a foreign file
            raise ValueError(f"{path.name} cannot be read: {type(error).__name__}") from error
        inside = content.get("state_dict") if isinstance(content, dict) and self.result == "model.ckpt" else content
        if not isinstance(inside, dict):
            raise ValueError(f"{path.name} does not hold what a stage leaves")


def key_of(spec: Any) -> str:
    """A stage's key: a short hash of plain values."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def seed_of(key: str) -> int:
    """The seed that belongs to a key."""
    return int(key, 16) % 2**31
