"""The directory of a run: where everything is, how it is written, and how it is read with checks."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import __version__ as lightning_version
from lightning.pytorch import LightningModule
from torch import Tensor

from cleanse.utils.configs import read_config
from cleanse.utils.files import atomic_write, atomic_write_text
from cleanse.utils.image_spec import ImageSpec
from cleanse.verdict import Verdict
from cleanse.version import __version__

MARK = "cleanse_version"
"""The checkpoint's entry that says whose it is."""
LARGEST = 4_000_000
"""Bytes of a results.json, a summary or a config that are read at most: a stranger's file may have no end."""


class RunDirectory:
    """A run on disk. Whatever is read may come from a stranger: it is checked, and nothing in it is run.

    Args:
        path: of the directory; it need not exist yet.

    Attributes:
        config, results, verdict, summary, checkpoint, report, predictions: paths of the files.
        stages: folder of links to the run's stages, in their order.

    Example::

        run = RunDirectory("runs/knn-imagefolder-0123456789ab")
        run.read_verdict().counts()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.results = self.path / "results.json"
        self.verdict = self.path / "verdict.parquet"
        self.summary = self.path / "summary.txt"
        self.checkpoint = self.path / "model.ckpt"
        self.report = self.path / "report.html"
        self.predictions = self.path / "predictions.csv"
        self.stages = self.path / "stages"

    # --- writing: each file aside and then renamed, so that a full disk leaves no half of one ---
    def write_verdict(self, verdict: Verdict, classes: Sequence[str]) -> None:
        """``verdict.parquet``, and ``verdict.csv`` for people."""
        verdict.save(self.path, classes=classes)

    def write_summary(self, text: str) -> None:
        """The verdict in words."""
        atomic_write_text(self.summary, text + "\n")

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Flat, JSON-ready."""
        atomic_write_text(self.results, json.dumps(results, indent=1) + "\n")

    def write_config(self, text: str) -> None:
        """The yaml that repeats the run."""
        self.path.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self.config, text)

    def write_report(self, page: str) -> None:
        """The web page."""
        atomic_write_text(self.report, page)

    def write_checkpoint(self, model: LightningModule, classes: Sequence[str], images: ImageSpec) -> None:
        """The recipe with its classifier, for ``cleanse test`` and ``predict``, and as a plain state dict.

        Args:
            model: the recipe.
            classes: names, in label order.
            images: what the classifier knows of its images.
        """
        content = {
            "classes": list(classes),
            "images": {
                "channels": images.channels, "size": list(images.size),
                "mean": list(images.mean), "std": list(images.std),
            },
            "state_dict": model.state_dict(), "pytorch-lightning_version": lightning_version, MARK: __version__,
            "epoch": 0, "global_step": 0,
        }  # fmt: skip
        with atomic_write(self.checkpoint, "wb") as file:
            torch.save(content, file)

    def link_stages(self, stages: Sequence[tuple[str, Path]]) -> None:
        """Relative links to (name, directory) of each stage, in order.

        What was linked before is forgotten. A link or a file in the place of the folder is replaced, not followed, and
        nothing but links is removed: a run directory may come from anybody.
        """
        if self.stages.is_symlink() or self.stages.is_file():
            self.stages.unlink()
        self.stages.mkdir(exist_ok=True)
        for old in self.stages.iterdir():
            if old.is_symlink():
                old.unlink()
        width = len(str(len(stages)))
        for i, (name, stage) in enumerate(stages, 1):
            link = self.stages / f"{i:0{width}}-{name}"
            link.symlink_to(os.path.relpath(stage, self.stages), target_is_directory=True)

    # --- reading ---
    def is_run(self) -> bool:
        """Whether this is the directory of a run."""
        return self.config.is_file()

    def config_text(self) -> str:
        """The config as it was written.

        Raises:
            ValueError: there is none, or it cannot be read.
        """
        return _text_of(self.config)

    def read_config(self) -> dict[str, Any]:
        """The config as plain values; nothing that it names is imported.

        Raises:
            ValueError: not yaml, it names no data, or has a trainer or a seed of another kind.
        """
        self.config_text()  # refuses what is no regular file
        config = read_config(self.config)
        if not isinstance(config.get("data"), dict):
            raise ValueError(f"{self.config} names no data: give the directory of a run")
        trainer, seed = config.get("trainer"), config.get("seed_everything")
        if not (trainer is None or isinstance(trainer, dict)) or not (seed is None or isinstance(seed, int)):
            raise ValueError(f"{self.config} is of no run: its trainer is no section, or its seed no whole number")
        return config

    def read_results(self) -> dict[str, Any]:
        """The figures of the run.

        Raises:
            ValueError: there are none yet, or the file is not flat JSON.
        """
        try:
            results = json.loads(_text_of(self.results))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.results} cannot be read ({error}): is the run finished?") from None
        if not isinstance(results, dict) or not all(_is_plain(value) for value in results.values()):
            raise ValueError(f"{self.results} is damaged, it is not one table of plain values: run cleanse fit again")
        return results

    def read_verdict(self) -> Verdict:
        """The verdict.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is damaged, or another table.
        """
        return Verdict.load(self.verdict)

    def read_classes(self) -> tuple[str, ...]:
        """Names of the classes, as the verdict's file has them; of one that it does not speak of, its number."""
        return Verdict.load_classes(self.verdict)

    def read_summary(self) -> str:
        """The verdict in words, without the last line end; empty where there is none."""
        try:
            return _text_of(self.summary).rstrip("\n")
        except ValueError:
            return ""

    def read_checkpoint(self) -> dict[str, Any]:
        """The content of ``model.ckpt``; see `check_checkpoint`."""
        return check_checkpoint(self.checkpoint)

    def tables(self, stage: str) -> Iterator[dict[str, Tensor]]:
        """What the stages of this name predicted, as far as they are still there and sound."""
        for path in sorted(self.stages.glob(f"*-{stage}*/table.pt")):
            if not path.is_file():  # a pipe need not end
                continue
            try:
                content = torch.load(path, map_location="cpu", weights_only=True)
            except Exception:  # whatever a foreign or damaged file holds, the reader goes without it
                continue
            if isinstance(content, dict):
                yield content

    def recorded_data(self) -> set[str]:
        """Hashes of the training data that the run's stages saw, as far as this version can compare them."""
        found = set()
        for path in self.stages.glob("*/stage.json"):
            try:
                record = json.loads(_text_of(path))
                source = record["data"]["source"]
                if isinstance(source, dict):  # the same images at another size, for an encoder
                    source = source["scaled"]
                if record["version"] == __version__ and isinstance(source, str):
                    found.add(source)
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                continue  # a stage that is gone or damaged says nothing
        return found


def check_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint of ours; anything else is refused before anything is made of it.

    Raises:
        ValueError: not there, not readable without running code, or without our mark.
    """
    if not path.is_file():
        raise ValueError(f"there is no checkpoint {path}; a run's is RUN/model.ckpt")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a foreign file holds, the answer is no
        raise ValueError(
            f"{path} is damaged or not a checkpoint of cleanse: it was not loaded ({type(error).__name__})"
        ) from None
    if not isinstance(content, dict) or MARK not in content or "state_dict" not in content:
        raise ValueError(f"{path} was not written by cleanse: give the model.ckpt of a run")
    return content


def _text_of(path: Path) -> str:
    """A regular file's text; bytes that are no UTF-8 as surrogates."""
    try:
        if not path.is_file():  # a device or a pipe need not end
            raise ValueError(f"there is no file {path}")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST:,} bytes: that is no file of a run")
    return content.decode("utf-8", "surrogateescape")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, float, str)) or (isinstance(value, int) and abs(value) < 2**63)
