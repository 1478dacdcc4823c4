"""From the words of a command to what the parser reads: all config files as one, then the arguments.

Config files are merged as plain dictionaries (`cleanse.utils.configs.merge`) before any class is made of them. So are
arguments that name a class or say null. All other arguments are the parser's, and win over every file.
"""

import inspect
import os
import re
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from cleanse.data.base import ImageDataModule
from cleanse.experiments.classes import hint_of
from cleanse.experiments.messages import UsageError
from cleanse.utils.configs import ATTACK, Layer, Merged, Place, find_config, merge, read_config, shipped
from cleanse.utils.find_run import find_run
from cleanse.utils.not_a_folder import not_a_folder

COMMAND_LINE = "the command line"
NULLS = ("null", "~")


@dataclass(frozen=True)
class Arguments:
    """A command, ready to be parsed.

    Attributes:
        words: the command, one config with what all files say, and the other arguments.
        merged: what the files say, and where each value comes from.
        given: names of the arguments that the parser reads, which win over every file, without ``init_args``.
    """

    words: list[str]
    merged: Merged
    given: frozenset[Place] = frozenset()

    def origin(self, keys: Sequence[str], said: str = "") -> str:
        """The file that brought the value that some keys lead to; empty if none did, or the command line.

        Args:
            keys: names from the outside in, without ``init_args``.
            said: of a value that is also on the command line, the file's is meant if this text has it.
        """
        wanted = _plain(keys)
        places = [place for place in self.merged.origin if wanted and _plain(place)[: len(wanted)] == wanted]
        if wanted in self.given and not any(repr(str(self.merged.value(place))) in said for place in places):
            return ""
        found = {self.merged.origin[place] for place in places}
        return found.pop() if len(found) == 1 and found != {COMMAND_LINE} else ""

    def with_origin(self, error: UsageError) -> UsageError:
        """The same error, naming the file that brought the offending value."""
        found = {".".join(error.keys): self.origin(error.keys, str(error))} if error.keys else {}
        if not any(found.values()):  # a constructor names its arguments, as in poison_rate=0.02
            found = {
                key: self._origin_of_value(key, value) for key, value in re.findall(r"\b(\w+)=([^\s,:]+)", str(error))
            }
        told = [f"{key} is from {name}" for key, name in found.items() if name]
        return UsageError(f"{error} ({', '.join(told)})", error.keys) if told else error

    def _origin_of_value(self, key: str, value: str) -> str:
        """The file that gave an argument of this name this value; empty if none did, or several."""
        names = {
            name
            for place, name in self.merged.origin.items()
            if place[-1] == key and str(self.merged.value(place)) == value and name != COMMAND_LINE
            if _plain(place) not in self.given
        }
        return names.pop() if len(names) == 1 and value != "None" else ""


def _plain(keys: Sequence[str]) -> Place:
    return tuple(key for key in keys if key not in ("init_args", "class_path"))


def read_arguments(argv: Sequence[str]) -> Arguments:
    """Read and merge the config files of a command; ``test RUN`` stands for the run's config and checkpoint.

    Args:
        argv: the command's name and its arguments.

    Raises:
        UsageError: a config that is not there or damaged, or that a later one undoes.
    """
    command, *words = argv
    try:
        if command in ("test", "predict") and words and not words[0].startswith("-"):
            run = find_run(words[0])
            words = [f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'model.ckpt'}", *words[1:]]
        layers, rest = [], []
        for name, value, given in _pairs(words):
            if not name:
                raise ValueError(_stray(given[0]))
            if name in ("config", "c") and value is not None:
                layers.append(Layer(value, read_config(find_config(value), value)))
            else:
                rest.append((name, value, given))
    except ValueError as error:
        raise UsageError(str(error)) from None
    files = merge(layers, _stays)
    own, left = [], []
    for name, value, given in rest:
        place = _place(name)
        if place and value is not None and (content := _as_layer(files, place, value)) is not None:
            own.append(Layer(COMMAND_LINE, content))
        elif value in NULLS and len(given) == 2:
            left.append(f"{given[0]}={value}")  # argparse takes a lone null for the next argument's name
        else:
            left += given
    merged = merge([*layers, *own], _stays)
    _check_nothing_is_lost(merged)
    config = yaml.safe_dump(merged.config, default_flow_style=True, width=float("inf"), allow_unicode=True)
    from_words = frozenset(_plain(name.split(".")) for name, _, _ in rest if name)
    return Arguments([command, *([f"--config={config.strip()}"] if merged.config else []), *left], merged, from_words)


def _stray(word: str) -> str:
    """What is meant by a word that belongs to no argument."""
    if Path(word, "config.yaml").is_file():
        return f"{word} is a run: name its config, with --config {Path(word, 'config.yaml')}"
    if Path(word).is_dir():
        return (
            f"{word} is a folder: cleanse check {word} looks for a backdoor in its images; a recipe takes it with "
            f"--config data/folder.yaml --data.root {word}"
        )
    if word.endswith((".yaml", ".yml")) or f"{word}.yaml" in shipped():
        return f"{word!r} stands alone: a config file is named with --config {word.removesuffix('.yaml')}.yaml"
    if os.path.isfile(word) or "://" in word:
        return not_a_folder(word)
    return f"{word!r} stands alone: arguments are written as --NAME VALUE, and config files as --config FILE"


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None, list[str]]]:
    """Each argument as name (without dashes), value and the words that it was given in."""
    i = 0
    while i < len(words):
        word = words[i]
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            yield "", None, [word]
        elif equals:
            yield name.lstrip("-"), value, [word]
        elif i + 1 < len(words) and not words[i + 1].startswith("--"):
            yield name.lstrip("-"), words[i + 1], [word, words[i + 1]]
            i += 1
        else:
            yield name.lstrip("-"), None, [word]
        i += 1


def _place(name: str) -> Place:
    """Where an argument's value stands in a config; empty for what is neither of the model nor of the data."""
    first, *parts = [part for part in name.split(".") if part != "init_args"]
    if first not in ("model", "data") or name.endswith(("+", ".help")) or not all(parts):
        return ()
    last = ["class_path"] if parts[-1:] == ["class_path"] else []
    inner = parts[: len(parts) - len(last)]
    return (first, *(word for part in inner for word in ("init_args", part)), *last)


def _as_layer(files: Merged, place: Place, value: str) -> dict[str, Any] | None:
    """The config that an argument is: it names a class, takes a value back, or is text that yaml reads otherwise.

    None for all other arguments.
    """
    named = place[-1] == "class_path"
    spot = place[:-1] if named else place
    content: Any = None
    if named or files.is_class(spot):
        if value.lstrip().startswith("{"):
            content = _mapping(value)
        elif all(part.isidentifier() for part in value.split(".")) and value not in NULLS:
            content = {"class_path": value}
        if content is None and value not in NULLS:
            return None
    elif _is_text(files.config, place, value):
        content = value
    elif value not in NULLS or len(place) < len(ATTACK):
        return None  # (jsonargparse reads a null deeper inside as the text "None")
    for part in reversed(spot):
        content = {part: content}
    return content  # type: ignore[no-any-return]


def _mapping(value: str) -> Mapping[str, Any] | None:
    """A class with its arguments, as one writes them in yaml on one line; None for anything else."""
    try:
        content = yaml.safe_load(value)
    except yaml.YAMLError:
        return None
    return content if isinstance(content, Mapping) and {"class_path", "init_args"} & set(content) else None


def _is_text(config: Mapping[str, Any], place: Place, value: str) -> bool:
    """Whether an argument is text for the class that takes it, such as a path, though yaml reads otherwise."""
    try:
        if isinstance(yaml.safe_load(value), str):
            return False
    except yaml.YAMLError:
        pass
    at: Any = config
    for part in place[:-2]:
        at = at.get(part) if isinstance(at, Mapping) else None
    found = _class(str(at.get("class_path"))) if isinstance(at, Mapping) and place[-2:-1] == ("init_args",) else None
    hint = hint_of(found, place[-1]) if inspect.isclass(found) else None
    kinds = typing.get_args(hint) or (hint,)
    takes_null = type(None) in kinds and value in NULLS
    return str in kinds and all(kind in (str, type(None)) for kind in kinds) and not takes_null


def _class(name: str) -> Any:
    """A class of ours by its name or path; None if there is none."""
    module, _, own = name.rpartition(".")
    if module and module.split(".")[0] != "cleanse":
        return None  # not imported before the parser has had a look at it
    places = (
        [module] if module else [f"cleanse.{part}" for part in ("data", "attacks", "defenses", "modules", "networks")]
    )
    for place in places:
        try:
            return getattr(import_module(place), own)
        except (ImportError, AttributeError, ValueError):
            continue
    return None


def _stays(name: str) -> Collection[str]:
    """Arguments that all data sets and the class of this name take: they stay when a config names other data."""
    everyone = set(inspect.signature(ImageDataModule).parameters)
    found = _class(name)
    if not inspect.isclass(found):
        return everyone  # the parser will say what is wrong
    taken = inspect.signature(found).parameters
    return everyone if any(p.kind is p.VAR_KEYWORD for p in taken.values()) else everyone & set(taken)


def _check_nothing_is_lost(merged: Merged) -> None:
    """Raises: UsageError for a file about the data or the attack that a later file undoes."""
    for name, what, later in merged.lost:
        if later != COMMAND_LINE:
            raise UsageError(
                f"{name} names {what}, but {later}, which comes after it, names another: put --config {name} last"
            )
