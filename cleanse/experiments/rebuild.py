"""A run's data and recipe, made again from its config; a run directory may come from anybody."""

import os
from collections.abc import Mapping
from os import PathLike
from typing import Any

from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.engine.run_directory import RunDirectory
from cleanse.engine.runner import Runner
from cleanse.experiments.classes import check_classes, check_trusts_nobody, importing
from cleanse.experiments.messages import UsageError, explain
from cleanse.experiments.parser import Parser
from cleanse.utils.find_run import find_run
from cleanse.views import TrainingView


def open_run(path: str | PathLike[str]) -> RunDirectory:
    """The directory of a run, with a config that can be read.

    Raises:
        UsageError: it is none, or its config is damaged.
    """
    try:
        run = RunDirectory(find_run(os.fspath(path)))
        run.read_config()
    except ValueError as error:
        raise UsageError(str(error)) from None
    return run


def data_of(run: RunDirectory, trust: bool = False) -> ImageDataModule:
    """The data module of a run's config, with its seed; nothing is read yet.

    Args:
        run: directory of the run.
        trust: import classes that are not ours.

    Raises:
        UsageError: its classes or arguments cannot be used.
    """
    config = run.read_config()
    data: ImageDataModule = _made(run, ImageDataModule, "data", config, trust)
    data.seed = int(config.get("seed_everything") or 0) if data.seed is None else data.seed
    return data


def attacked_data_of(run: RunDirectory, trust: bool = False) -> ImageDataModule:
    """The same with its attack; stages that the attack trained are read from beside the run."""
    data = data_of(run, trust)
    trainer = run.read_config().get("trainer") or {}
    plain = {k: v for k, v in trainer.items() if isinstance(v, (bool, int, float, str))}
    data.learn_attack(Runner(run.path.absolute().parent, data.seed or 0, arguments=plain))
    return data


def defense_of(run: RunDirectory, trust: bool = False) -> Defense:
    """The recipe of a run's config, without weights; arguments and errors as in `data_of`."""
    made: Defense = _made(run, Defense, "model", run.read_config(), trust)
    return made


def load_classifier(defense: Defense, view: TrainingView, content: Mapping[str, Any], where: str = "it") -> None:
    """Give a recipe the classifier of a checkpoint's content.

    Args:
        defense: the recipe.
        view: images like those that it was trained on, as far as channels, size and classes go.
        content: of the checkpoint.
        where: what messages call it.

    Raises:
        ValueError: the weights are those of another recipe, network or number of classes.
    """
    defense.model = defense.final_classifier(view)()
    try:
        defense.load_state_dict(content["state_dict"])
    except RuntimeError:
        raise ValueError(
            f"{where} does not fit this config: its recipe, network or number of classes is another"
        ) from None
    defense.model.eval()


def _made(run: RunDirectory, base: type, section: str, config: Mapping[str, Any], trust: bool) -> Any:
    parser = Parser()
    parser.add_subclass_arguments(base, section, required=True)
    with importing(everything=trust):
        try:
            if not trust:
                check_trusts_nobody(config.get(section))
            parsed = parser.parse_object({section: config.get(section)})
            check_classes(parsed)
            return parser.instantiate(parsed)[section]
        except UsageError as error:
            raise UsageError(f"{run.config}: {error}", error.keys) from None
        except ValueError as error:
            if "Errors:" not in str(error):
                raise
            raise explain(str(error)) from None
