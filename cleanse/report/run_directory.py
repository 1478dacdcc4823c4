"""What a run leaves behind: config, verdict, results, checkpoint, links to its stages."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning import __version__ as lightning_version
from lightning.pytorch import LightningModule

from cleanse.utils.files import atomic_write, atomic_write_text
from cleanse.verdict import Verdict
from cleanse.version import __version__

MARK = "cleanse_version"
"""The checkpoint's entry that says whose it is."""


def save_run(
    directory: Path,
    config: str,
    verdict: Verdict,
    classes: Sequence[str],
    results: Mapping[str, Any],
    model: LightningModule,
    stages: Sequence[tuple[str, Path]],
    summary: str = "",
) -> None:
    """Write a run's directory; each file aside and then renamed, so that a full disk leaves no half of one.

    Args:
        directory: of the run.
        config: the yaml that repeats it.
        verdict: one row per training image.
        classes: class names, for the verdict's readable columns.
        results: flat, JSON-ready.
        model: the recipe, with its classifier.
        stages: (name, directory) in order; linked relatively under ``stages/``.
        summary: the verdict in words; empty for no ``summary.txt``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    atomic_write_text(directory / "config.yaml", config)
    atomic_write_text(directory / "results.json", json.dumps(results, indent=1) + "\n")
    if summary:
        atomic_write_text(directory / "summary.txt", summary + "\n")
    verdict.save(directory, classes=classes)
    checkpoint = {
        "state_dict": model.state_dict(), "pytorch-lightning_version": lightning_version, MARK: __version__,
        "epoch": 0, "global_step": 0,
    }  # fmt: skip
    with atomic_write(directory / "model.ckpt", "wb") as file:
        torch.save(checkpoint, file)
    links = directory / "stages"
    links.mkdir(exist_ok=True)
    for old in links.iterdir():
        old.unlink()
    width = len(str(len(stages)))
    for i, (name, stage) in enumerate(stages, 1):
        (links / f"{i:0{width}}-{name}").symlink_to(os.path.relpath(stage, links), target_is_directory=True)


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
