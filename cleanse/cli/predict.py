"""``cleanse predict``: what a run's classifier says of images, as a CSV file."""

import csv
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cleanse.cli.load_run import checkpoint_of, give_classifier, load_run, pictured, runner_beside, test_part
from cleanse.data.decode import Background, decode_files
from cleanse.data.folder_reader import FolderReader
from cleanse.data.image_folder import ImageFolder, gray
from cleanse.defenses import Defense
from cleanse.engine.fingerprint import describe
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.runner import is_rank_zero
from cleanse.experiments.build import CleanseCLI
from cleanse.experiments.messages import UsageError
from cleanse.utils.files import atomic_write
from cleanse.utils.image_spec import ImageSpec
from cleanse.verdict import harmless
from cleanse.views import ImageSource, ImageView, TrainingView

log = logging.getLogger("cleanse")

MOST_NAMED = 10
"""Unreadable files that are named one by one."""


def take_options(words: list[str]) -> tuple[str | None, str | None, list[str]]:
    """``--images`` and ``--out`` of a command, and its other words.

    Raises:
        UsageError: one of them without a value.

    >>> take_options(["predict", "RUN", "--images", "new", "--out=said.csv"])
    ('new', 'said.csv', ['predict', 'RUN'])
    """
    found: dict[str, str] = {}
    rest, waiting = [], iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name not in ("--images", "--out"):
            rest.append(word)
            continue
        value = value if equals else next(waiting, "")
        if not value or (not equals and value.startswith("--")):
            what = "folder of image files" if name == "--images" else "file to write"
            raise UsageError(f"{name} is a {what}: give its name, {name} NAME")
        found[name] = value
    return found.get("--images"), found.get("--out"), rest


def predict(cli: CleanseCLI, images: str | None, out: str | None) -> Path | None:
    """Write the predictions for the run's test images, or for new pictures.

    Args:
        cli: the parsed command.
        images: folder of new pictures, which need no label; None for the test images of the config's data.
        out: the file; None for one in the run's directory.

    Returns:
        The file; None for a module that is no recipe, whose own ``predict_step`` has run.

    Raises:
        ValueError: there is no such folder, checkpoint or place to write to.
    """
    model = cli.model
    if not isinstance(model, Defense):
        cli.trainer.predict(model, datamodule=cli.datamodule, **{**cli.passed, "return_predictions": False})
        return None
    path, content = checkpoint_of(cli)
    directory = RunDirectory(path.parent)
    left_out: dict[str, str] = {}
    if images is None:
        run = load_run(cli)
        default = directory.predictions
        view: ImageView = test_part(cli)
    else:
        classes, spec = pictured(content, path)
        background = cli.datamodule.background if isinstance(cli.datamodule, ImageFolder) else "black"
        new, left_out = pictures(images, classes, spec, background)
        view = new
        run = runner_beside(cli, path)
        give_classifier(model, new, content, path)
        name = re.sub(r"[^\w.-]+", "_", Path(images).resolve().name)
        default = directory.predictions.with_name(f"predictions-{name}.csv")
    target = default if out is None else Path(out)
    if target.is_dir():
        raise UsageError(f"--out is a file, but {str(target)!r} is a folder: name a file in it")
    table = run.predict("test" if images is None else "pictures", model.model, view)  # type: ignore[arg-type]
    if is_rank_zero():
        for name, why in list(left_out.items())[:MOST_NAMED]:
            log.warning("left out: %s (%s)", ascii(name)[1:-1], why)
        if len(left_out) > MOST_NAMED:
            log.warning("... and %d more files that cannot be read", len(left_out) - MOST_NAMED)
        write_predictions(target, view, table.prediction, table.confidence, left_out)
    return target


def pictures(
    folder: str, classes: tuple[str, ...], images: ImageSpec, background: Background = "black"
) -> tuple[TrainingView, dict[str, str]]:
    """New pictures without labels, as the classifier of a run takes them.

    Args:
        folder: with image files, right in it or in its folders.
        classes: names of the classifier's classes.
        images: channels, size and normalization that it was trained with.
        background: what shows through transparent pixels.

    Returns:
        The view, in the order of the files' names, and why other files could not be read, by name.

    Raises:
        ValueError: there is no such folder, or nothing in it that can be read.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"--images: there is no folder {folder!r}; give one with image files")
    files = FolderReader(folder, follow_links=False).images(folder, -1)
    if not files:
        raise ValueError(f"--images: {folder!r} has no image files")
    usable = [file for file in files if not file.refused]
    decoded = decode_files([file.path for file in usable], images.size[0], background=background)
    left_out = {file.id: file.refused for file in files if file.refused}
    left_out |= {usable[i].id: why for i, why in decoded.why.items()}
    kept = [i for i in range(len(usable)) if i not in decoded.why]
    if not kept:
        raise ValueError(f"--images: none of the {len(files)} image files in {folder!r} can be read")
    image = decoded.image[kept]
    image = gray(image) if images.channels == 1 else image
    ids = tuple(usable[i].id for i in kept)
    source = ImageSource(image, ids, classes, images.mean, images.std, {"pictures": describe(image)})
    return TrainingView(source, torch.arange(len(kept)), torch.full((len(kept),), -1)), left_out


def write_predictions(
    path: Path, view: ImageView, prediction: Tensor, confidence: Tensor, left_out: Mapping[str, str]
) -> None:
    """A CSV file with a line per image, in which no spreadsheet finds a formula.

    Args:
        path: of the file.
        view: the images.
        prediction, confidence: (N,) of each.
        left_out: names of files that could not be read; they have a line without a prediction.
    """
    names = [view.classes[c] for c in prediction.tolist()]
    rows = [(id, name, f"{c:.6f}") for id, name, c in zip(view.id, names, confidence.tolist(), strict=True)]
    with atomic_write(path, "w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "prediction", "confidence"))
        writer.writerows([harmless(cell) for cell in row] for row in (*rows, *((id, "", "") for id in left_out)))
