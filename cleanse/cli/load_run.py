"""The classifier of a run, for `cleanse test` and `cleanse predict`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.engine.fingerprint import hash_of
from cleanse.engine.run_directory import RunDirectory, check_checkpoint
from cleanse.engine.runner import Runner
from cleanse.experiments.build import CleanseCLI
from cleanse.experiments.experiment import prepare
from cleanse.experiments.rebuild import load_classifier
from cleanse.utils.image_spec import ImageSpec
from cleanse.views import ImageView, TrainingView


def load_run(cli: CleanseCLI) -> Runner:
    """Give a recipe the classifier of a checkpoint, and number the data's classes as the run did.

    Returns:
        A runner that keeps its tables beside the run.

    Raises:
        ValueError: there is no checkpoint, it does not fit, or the data has a class that it was not trained on.
    """
    path, content = checkpoint_of(cli)
    model, data = cli.model, cli.datamodule
    if not isinstance(data, ImageDataModule) or not isinstance(model, Defense):
        raise ValueError("the config names no data: use the config.yaml of the run")
    if names := _classes(content, path):
        data.expect_classes(names)
    run = runner_beside(cli, path)
    prepare(data, run, cli.settings.threads)
    give_classifier(model, data.training_view(), content, path)
    return run


def test_part(cli: CleanseCLI) -> ImageView:
    """The test images of a command's data.

    Raises:
        ValueError: the data has none.
    """
    if (view := cli.images().clean_test()) is None:
        raise ValueError(
            "the data has no test part: cleanse test RUN --data.root DIR takes a folder with one (DIR/test/CLASS/...), "
            "and cleanse predict RUN --images DIR any pictures"
        )
    return view


def checkpoint_of(cli: CleanseCLI) -> tuple[Path, dict[str, Any]]:
    """Path and content of the checkpoint that a command names.

    Raises:
        ValueError: it names none, or one that is not ours.
    """
    if (given := cli.passed.get("ckpt_path")) is None:
        raise ValueError(
            f"say which run: cleanse {cli.subcommand} RUN, or --config RUN/config.yaml --ckpt_path RUN/model.ckpt"
        )
    path = Path(given)
    if not path.is_file() and (path.parent / "config.yaml").is_file():
        raise ValueError(
            f"{path.parent} has a verdict and no classifier, as cleanse check trains none: repeat its command with "
            "--train (cleanse check FOLDER --train), or cleanse fit without --verdict_only"
        )
    return path, check_checkpoint(path)


def give_classifier(model: Defense, view: TrainingView, content: Mapping[str, Any], path: Path) -> None:
    """Give a recipe the classifier of a checkpoint, under a key that its predictions are kept by."""
    load_classifier(model, view, content, str(path))
    model.model.stage_key = hash_of(dict(content["state_dict"]))  # type: ignore[union-attr]


def runner_beside(cli: CleanseCLI, path: Path) -> Runner:
    """A runner whose stages lie beside the run of a checkpoint."""
    return cli.runner(path.absolute().parent.parent)


def pictured(content: Mapping[str, Any], path: Path) -> tuple[tuple[str, ...], ImageSpec]:
    """Class names of a checkpoint, and what it knows of its images.

    Raises:
        ValueError: it does not say; an older version of cleanse wrote it.
    """
    names, images = _classes(content, path), content.get("images")
    if not names or not isinstance(images, dict):
        raise ValueError(f"{path} does not say which images it takes: an older cleanse wrote it; run cleanse fit again")
    try:
        mean, std = (tuple(float(v) for v in images[key]) for key in ("mean", "std"))
        height, width = (int(v) for v in images["size"])
        return names, ImageSpec(int(images["channels"]), len(names), mean, std, (height, width))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its entry about images cannot be read ({error})") from None


def _classes(content: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Names of the classes, in label order; empty where neither the checkpoint nor the verdict beside it says."""
    names = content.get("classes")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    try:
        return RunDirectory(path.parent).read_classes()
    except (OSError, ValueError):
        return ()
