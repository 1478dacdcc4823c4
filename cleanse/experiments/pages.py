"""The web page of a run, or of several: what is on disk, with what the run's data can show."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cleanse.attacks.base import ROLES
from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.run_directory import RunDirectory
from cleanse.experiments.rebuild import attacked_data_of, defense_of, open_run
from cleanse.report.content import GALLERY, RunContent, with_attention, with_embedding, with_images
from cleanse.report.page import make_page
from cleanse.utils.files import atomic_write_text, check_new_file


def report_runs(runs: Sequence[str | Path], out: str | Path | None = None, trust: bool = False) -> Path:
    """Write the page of some runs, aside first and then renamed.

    Args:
        runs: their directories.
        out: the file; None for ``report.html`` in the first one.
        trust: import classes of the runs' configs that are not ours.

    Returns:
        The page's path.

    Raises:
        UsageError: a directory that is no run.
        ValueError: damaged files in one, or ``out`` is a folder.
    """
    path = RunDirectory(runs[0]).report if out is None else Path(out)
    if out is not None:
        check_new_file(path)
    page = make_page([read_run(run, len(runs) == 1, trust) for run in runs])
    atomic_write_text(path, page)
    return path


def read_run(path: str | Path, pictures: bool = True, trust: bool = False) -> RunContent:
    """What a run's directory holds and, with ``pictures``, what its data show. Nothing is downloaded.

    Raises:
        UsageError: not the directory of a run.
        ValueError: a damaged file, or a verdict of no rows.
    """
    run = open_run(path)
    content = RunContent(run, run.read_results(), run.config_text(), run.read_verdict(), run.read_classes())
    if not len(content.verdict):
        raise ValueError(f"{run.verdict} has no rows, so there is nothing to show: was the run's data set empty?")
    if not pictures:
        return content
    content = with_embedding(content)
    try:
        data = attacked_data_of(run, trust)
        known = run.recorded_data()
        if known and hash_of(data.spec()) not in known:
            raise ValueError("the data have changed since the run, or another version of cleanse made it.")
        return illustrate(content, data, defense_of(run, trust))
    except (ValueError, OSError) as error:
        return replace(content, missing=str(error) or type(error).__name__)


def illustrate(run: RunContent, data: ImageDataModule, defense: Defense, most: int = GALLERY) -> RunContent:
    """Add what only the run's data can show: pictures, true roles, and where the classifiers look on a trigger.

    Args:
        run: what its directory holds.
        data: the very data, prepared.
        defense: the recipe; its weights are not used.
        most: images in a gallery.

    Raises:
        ValueError: the data lack an image of the verdict.
    """
    view, attack = data.training_view(), data.attack
    run = with_images(run, view, None if attack is None else data.truth.role, ROLES, most)
    if attack is None:
        return run
    try:
        clean, triggered = data.clean_test(), data.triggered_test()
    except (ValueError, OSError) as error:
        return replace(run, no_attention=str(error))
    if clean is None or triggered is None:
        return run
    return with_attention(run, clean, triggered, attack.measured(clean.label), defense.final_classifier(view))
