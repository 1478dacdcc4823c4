"""The config of a run, and what it names; a run directory may come from anybody."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cleanse.data.base import ImageDataModule
from cleanse.defenses import Defense
from cleanse.experiments.classes import check_classes, importing
from cleanse.experiments.messages import UsageError, explain
from cleanse.experiments.parser import Parser
from cleanse.utils.configs import read_config
from cleanse.utils.find_run import find_run


def config_of(run: Path) -> dict[str, Any]:
    """The content of a run's config.yaml.

    Raises:
        UsageError: not the directory of a run, or a config that is damaged.
    """
    try:
        config = read_config(find_run(run) / "config.yaml")
    except ValueError as error:
        raise UsageError(str(error)) from None
    if not isinstance(config.get("data"), dict):
        raise UsageError(f"{run / 'config.yaml'} names no data: give the directory of a run")
    return config


def data_of(run: Path, trust: bool = False) -> ImageDataModule:
    """The data module of a run's config, with its seed.

    Args:
        run: directory of the run.
        trust: import classes that are not ours.

    Raises:
        UsageError: its classes or arguments cannot be used.
    """
    config = config_of(run)
    _check_trust(run, config["data"], trust)
    data: ImageDataModule = _made(run, ImageDataModule, "data", config, trust)
    data.seed = int(config.get("seed_everything") or 0) if data.seed is None else data.seed
    return data


def defense_of(run: Path, trust: bool = False) -> Defense:
    """The recipe of a run's config, without weights; arguments and errors as in `data_of`."""
    made: Defense = _made(run, Defense, "model", config_of(run), trust)
    return made


def _made(run: Path, base: type, section: str, config: Mapping[str, Any], trust: bool) -> Any:
    parser = Parser()
    parser.add_subclass_arguments(base, section, required=True)
    with importing(everything=trust):
        try:
            parsed = parser.parse_object({section: config.get(section)})
            check_classes(parsed)
            return parser.instantiate(parsed)[section]
        except UsageError as error:
            hint = "" if trust else "; --trust imports classes of your own"
            raise UsageError(
                f"{run / 'config.yaml'}: {error}{hint if 'is not imported' in str(error) else ''}"
            ) from None
        except ValueError as error:
            if "Errors:" not in str(error):
                raise
            raise explain(str(error)) from None


def _check_trust(run: Path, value: object, trust: bool) -> None:
    """Raises: UsageError if a config says of itself that the classes in a frozen set can be trusted."""
    if not trust and isinstance(value, dict):
        if value.get("trust"):
            raise UsageError(
                f"{run / 'config.yaml'} wants classes imported that are not ours: add --trust if they are yours"
            )
        for inner in value.values():
            _check_trust(run, inner, trust)
