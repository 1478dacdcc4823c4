"""``cleanse predict``: what a run's classifier says of images, as a CSV file."""

import csv
import logging
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from cleanse.cli.load_run import checkpoint_of, give_classifier, load_run, pictured, runner_beside, test_part
from cleanse.data import ImageFolder, pictures
from cleanse.defenses import Defense
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.runner import is_rank_zero
from cleanse.experiments.build import CleanseCLI
from cleanse.experiments.messages import UsageError
from cleanse.utils.files import atomic_write, check_new_file
from cleanse.utils.usual_names import usual_name
from cleanse.verdict import harmless
from cleanse.views import ImageView

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
            if name.startswith("--") and (meant := usual_name(name, value, ("images", "out"))):
                raise UsageError(f"there is no option {name}: {meant}see cleanse --help")
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
        try:
            found = pictures(images, spec, classes, background=background)
        except ValueError as error:
            raise ValueError(f"--images: {error}") from error
        view, left_out = found.view, dict(found.unreadable)
        run = runner_beside(cli, path)
        give_classifier(model, found.view, content, path)
        name = re.sub(r"[^\w.-]+", "_", Path(images).resolve().name)
        default = directory.predictions.with_name(f"predictions-{name}.csv")
    target = default if out is None else Path(out)
    check_new_file(target)
    table = run.predict("test" if images is None else "pictures", model.model, view)  # type: ignore[arg-type]
    if is_rank_zero():
        for name, why in list(left_out.items())[:MOST_NAMED]:
            log.warning("left out: %s (%s)", repr(name)[1:-1], why)
        if len(left_out) > MOST_NAMED:
            log.warning("... and %d more files that cannot be read", len(left_out) - MOST_NAMED)
        write_predictions(target, view, table.prediction, table.confidence, left_out)
    return target


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
