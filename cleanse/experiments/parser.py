"""The arguments of a command: config names looked up, and what is wrong with them in one sentence."""

import re
from argparse import HelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser

import cleanse.attacks
import cleanse.data
import cleanse.defenses
import cleanse.modules
import cleanse.networks  # (their classes can be named without a module path)
from cleanse.utils.configs import CONFIGS, find_config
from cleanse.utils.suggest import did_you_mean


class UsageError(ValueError):
    """A wrong argument or config; the message is for the user."""


class Parser(LightningArgumentParser):
    """Says what is wrong in one sentence instead of printing the usage of everything."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise UsageError(sentence(message, [action.dest for action in self._actions]))

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Without the lists of every class in the process that would fit a type: they hide the arguments."""
        return re.sub(r",\s+known\s+subclasses:[^)]*\)", ")", super().format_help(formatter))


def expand(argv: list[str]) -> list[str]:
    """Look up config names, and turn ``test RUN`` into the run's config and checkpoint."""
    if len(argv) > 1 and argv[0] in ("test", "predict") and not argv[1].startswith("-"):
        directory = Path(argv[1])
        if not (directory / "config.yaml").is_file():
            raise UsageError(f"{argv[1]} is not the directory of a run: it has no config.yaml")
        checkpoint = f"--ckpt_path={directory / 'model.ckpt'}"
        return [argv[0], f"--config={directory / 'config.yaml'}", checkpoint, *expand([argv[0], *argv[2:]])[1:]]
    out: list[str] = []
    for previous, word in zip(["", *argv], argv, strict=False):
        try:
            if previous in ("--config", "-c"):
                word = str(find_config(word))
            elif word.startswith(("--config=", "-c=")):
                word = f"--config={find_config(word.split('=', 1)[1])}"
        except ValueError as error:
            raise UsageError(str(error)) from None
        if previous.startswith("--") and "=" not in previous and word in ("null", "~"):
            out[-1] = f"{previous}={word}"
        else:
            out.append(word)
    return _nested_null(_with_quick(out))


def _with_quick(words: list[str]) -> list[str]:
    """Once quick.yaml is there, let ``quick/<Class>.yaml`` follow every recipe, module and attack that has one."""
    out: list[str] = []
    named: dict[str, str] = {}
    quick = False
    for previous, word in zip(["", *words], words, strict=False):
        out.append(word)
        new: dict[str, str] = {}
        if previous == "--model" or word.startswith("--model="):
            new["model"] = word.removeprefix("--model=")
        elif previous in ("--config", "-c") or word.startswith("--config="):
            path = Path(word.removeprefix("--config="))
            new = _classes_in(path)
            if path == CONFIGS / "quick.yaml":
                quick, new = True, named
        named |= new
        for name in new.values() if quick else ():
            more = CONFIGS / "quick" / f"{name.rsplit('.', 1)[-1]}.yaml"
            out += [f"--config={more}"] if more.is_file() else []
    return out


def _classes_in(path: Path) -> dict[str, str]:
    """The classes that a config gives the model and the attack."""
    try:
        config = yaml.safe_load(path.read_text()) or {}
        data, model = config.get("data") or {}, config.get("model")
        found = {"attack": (data.get("init_args") or {}).get("attack"), "model": model}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return {}  # whoever reads it for good will say what is wrong
    names = {k: v if isinstance(v, str) else (v or {}).get("class_path") for k, v in found.items()}
    return {k: v for k, v in names.items() if v}


def sentence(message: str, known: Sequence[str] = ()) -> str:
    """The part of a parser's message that a user can act on, on one line.

    jsonargparse tells of every type it tried, from the outside in; the keys and the innermost reason are what helps.
    ``known`` are the arguments that there are.
    """
    keys = re.findall(r'Parser key "([^"]+)"', message)
    where = ".".join(keys) + ": " if keys else ""
    reasons = [line.strip(" -") for line in message.splitlines()]
    noise = (
        "Errors:",
        "Subtypes:",
        "Given value",
        "Does not validate",
        "Expected a <class 'NoneType'>",
        "Parser key",
        "Expected a path",
    )
    told = [
        r
        for line in reasons
        if (r := re.sub(r'^(Parser key "[^"]+":\s*)+', "", line).strip(" -")) and not r.startswith(noise)
    ]
    short = " ".join(told) or " ".join(message.split())
    if found := re.search(r"Option '([^']+)' is not accepted", short):
        meant = did_you_mean(found[1], known)
        short = (
            f"there is no argument {found[1]!r}: {meant}--model.help NAME, --data.help NAME and fit --help list them"
        )
    elif found := re.search(r"unrecognized arguments: --([\w.]+)", short):
        short = f"there is no argument --{found[1]}: {did_you_mean(found[1], known)}see cleanse fit --help"
    elif found := re.search(r"Expected a dot import path string: (\S+)", short):
        short = (
            f"there is no class {found[1]!r}: {did_you_mean(found[1], _classes())}give its name, or a path such as "
            "cleanse.defenses.ISPL (knn, energy and knn_energy are methods of ContrastiveFilter, flow is FlowRelabel)"
        )
    elif found := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", short):
        short = f"there is no {found[2]!r} in {found[1]}: {did_you_mean(found[2], _classes())}give a class's path"
    elif found := re.search(r"Expected a typing.Literal\[(.*?)\]\. Got value: (\S+)", short):
        short = f"{found[2]!r} is none of {found[1]}"
    elif found := re.search(r"following arguments are required: (\S+)", short):
        missing = found[1].rstrip(",").rpartition(".")[2]
        short = f"{missing} is missing: add --config ispl.yaml, --config data/cifar10.yaml or another"
    elif found := re.search(r"Expected a <class '(\w+)'>\. Got value: (.*)", short):
        short = f"{found[2]!r} is not of type {found[1]}"
    return where + short


def _classes() -> list[str]:
    """The classes that an argument may name."""
    parts = (cleanse.attacks, cleanse.data, cleanse.defenses, cleanse.modules, cleanse.networks)
    return [name for part in parts for name in vars(part) if name[0].isupper()]


def _nested_null(words: list[str]) -> list[str]:
    """``--data.attack.class_rate null`` as an inline config: jsonargparse reads a nested null as the text "None"."""
    out: list[str] = []
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        parts = [p for p in name.split(".") if p != "init_args"]
        if word.startswith("--") and value in ("null", "~") and parts[0] in ("data", "model") and len(parts) > 2:
            value = "null"
            for part in reversed(parts[1:]):
                value = f"{{init_args: {{{part}: {value}}}}}"
            word = f"--config={{{parts[0]}: {value}}}"
        out.append(word)
    return out
