"""What ``cleanse fit`` does with a folder of images, as one function; and runs read back."""

import logging
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import yaml

from cleanse.data import FromDataset
from cleanse.data.natural_size import natural_size
from cleanse.defenses import LabelCheck
from cleanse.engine.progress import Screen
from cleanse.engine.runner import Runner
from cleanse.experiments.build import build
from cleanse.experiments.experiment import Experiment, Setup, run_experiment
from cleanse.utils.configs import CONFIGS, shipped
from cleanse.utils.not_a_folder import not_a_folder

log = logging.getLogger("cleanse")


def cleanse_folder(
    folder: str | PathLike[str],
    recipe: str = "knn",
    root: str | PathLike[str] = "runs",
    size: int = 32,
    seed: int = 0,
    overrides: Mapping[str, object] | None = None,
    quick: bool = False,
) -> Experiment:
    """Run a recipe on a folder of images with one folder per class, as ``cleanse fit`` does.

    The same as ``cleanse fit --config RECIPE.yaml --config data/folder.yaml --data.root FOLDER`` on one device: the
    same run directory, such as ``runs/knn-imagefolder-0123456789ab``, with verdict, figures, classifier and config. A
    second call with the same arguments reads it back. The summary in words, the figures and, as its last line, the
    directory go to the logger ``cleanse``, which writes to standard error as the progress does; nothing is printed.

    Args:
        folder: ``folder/<class>/<image>``, or ``folder/train/<class>/...`` and ``folder/test/<class>/...``; it is
            only read.
        recipe: one that ships with cleanse (``knn``, ``energy``, ``ispl``, ...), or the path of a yaml file.
        root: directory of all runs.
        size: images are cropped to a square and resized to this many pixels a side.
        seed: of every draw.
        overrides: arguments of ``cleanse fit`` by their dotted name, such as ``{"model.pretrain_epochs": 100}``.
        quick: put ``quick.yaml`` on top of the recipe: a small network and short schedules, to try things out.

    Returns:
        What was found: ``verdict`` with one row per training image (without a test folder, that is every image; ``id``
        is the path within the folder and a label is the place of its class among the sorted class folders),
        ``results``, ``model``, ``directory``, ``summary`` and ``report()``.

    Raises:
        ValueError: there is no such recipe, folder or argument, or the images cannot be used.
    """
    if why := not_a_folder(os.fspath(folder)):
        raise ValueError(why)
    configs = [_config_of(recipe), *(["quick.yaml"] if quick else []), "data/folder.yaml"]
    values = {
        "data.root": str(folder), "data.size": size, "seed_everything": seed, "root": str(root), "trainer.devices": 1,
        **(overrides or {}),
    }  # fmt: skip
    experiment = run_experiment(build(configs, values))
    for text in (experiment.summary, experiment.table, experiment.directory):
        log.info("%s", text)
    return experiment


def check(
    images: Any,
    root: str | PathLike[str] = "runs",
    seed: int = 0,
    overrides: Mapping[str, object] | None = None,
) -> Experiment:
    """Look for a backdoor, as ``cleanse check`` does: a verdict for every image, and no training.

    Args:
        images: a folder with one folder of images per class; a pair (images, labels) of arrays; or a data set of
            (image, label) such as torchvision's and Hugging Face's, see `cleanse.data.FromDataset`.
        root: directory of all runs.
        seed: of the run.
        overrides: for a folder, arguments of ``cleanse fit`` by their dotted name; for anything else, arguments of
            `cleanse.defenses.LabelCheck` by their name.

    Returns:
        What was found: ``verdict``, ``summary``, ``directory``, ``report()``; there is no ``model``.

    Raises:
        ValueError: the images cannot be used, or labels that are not in one pair with their images.
    """
    if not isinstance(root, (str, PathLike)):
        raise ValueError(
            f"root is the directory of all runs, not {type(root).__name__}: images and labels are one pair, "
            "cleanse.check((images, labels))"
        )
    if isinstance(images, (str, PathLike)):
        size = natural_size(os.fspath(images))
        return cleanse_folder(images, "check", root, size, seed, {"verdict_only": True, **(overrides or {})})
    defense = LabelCheck(**(overrides or {}))  # type: ignore[arg-type]
    run = Runner(Path(root), seed, arguments={"accelerator": "auto", "devices": 1}, screen=Screen())
    experiment = run_experiment(Setup(defense, FromDataset(images), run, verdict_only=True))
    log.info("%s\n%s", experiment.summary, experiment.directory)
    return experiment


def load_run(directory: str | PathLike[str]) -> Experiment:
    """A run that was made before, by the command line or from Python.

    Verdict, figures and summary are read now; the data and the classifier when ``model`` is asked for.

    Args:
        directory: of the run, such as ``runs/knn-imagefolder-0123456789ab``.

    Raises:
        ValueError: not the directory of a run, or a damaged one.
    """
    return Experiment.load(directory)


def _recipes() -> list[str]:
    """Names of the shipped recipes that need no attack to be simulated."""
    found = []
    for name in shipped():
        if "/" not in name and name not in ("quick.yaml", "oracle.yaml"):
            model = yaml.safe_load((CONFIGS / name).read_text()).get("model", {})
            if str(model.get("class_path")).startswith("cleanse.defenses."):
                found.append(name.removesuffix(".yaml"))
    return found


def _config_of(recipe: str) -> str:
    if recipe.endswith((".yaml", ".yml")) and Path(recipe).is_file():
        return recipe
    if recipe.removesuffix(".yaml") not in (known := _recipes()):
        raise ValueError(f"recipe is one of {', '.join(known)}, or the path of a yaml file, not {recipe!r}")
    return f"{recipe.removesuffix('.yaml')}.yaml"
