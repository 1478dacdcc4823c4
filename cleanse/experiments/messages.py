"""What is wrong with the arguments, in one sentence.

jsonargparse tells of every type that it tried, from the outside in. What helps is the argument's name and the innermost
reason: they are taken from its text here, and nowhere else.
"""

import os
import re
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from inspect import signature

from cleanse.utils.configs import shipped
from cleanse.utils.expected import expected
from cleanse.utils.suggest import did_you_mean
from cleanse.utils.usage_error import UsageError
from cleanse.utils.usual_names import usual_name

__all__ = ["UsageError", "explain"]

SECTIONS = ("model", "data", "trainer", "seed_everything", "root", "compare")

FOLDER = "a folder of images is named with --config data/folder.yaml --data.root {}"

NOISE = (
    "Errors:", "Subtypes:", "Given value", "Does not validate", "Expected a <class 'NoneType'>", "Parser key",
    "Expected a path",
)  # fmt: skip
"""How lines begin that tell a user nothing."""

KEY = r'^(?:Parser key "[^"]+":\s*)+'


def explain(message: str, known: Collection[str] = ()) -> UsageError:
    """The error to raise for a message of jsonargparse.

    Args:
        message: its text, of many lines.
        known: the arguments that there are, for suggestions.
    """
    places = dict.fromkeys(re.findall(r'Parser key "([^"]+)"', message))
    keys = [key for place in places for key in place.split(".") if key != "init_args"]
    if keys[:1] == ["config"]:
        keys = keys[1:]  # all files are one config for the parser
    lines = [re.sub(KEY, "", line.strip(" -")).strip(" -") for line in message.splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(NOISE)) or " ".join(message.split())
    for pattern, reason in REASONS:
        if found := re.search(pattern, said):
            said = reason(found, known)
            break
    else:
        said = _expected(said, message) or said
    # what an inner parser said begins with its own keys: "model: " and "epochs: ..." become "model.epochs: ..."
    while found := re.match(r"([a-z_][\w.]*): (?=\S)", said):
        inner = found[1].split(".")
        keys = inner if inner[: len(keys)] == keys else [*keys, *inner]
        said = said[found.end() :]
    named = re.match(r"there is no (?:argument|section) (?:'|--)([\w.-]+)", said)
    return UsageError(": ".join([*_dotted(keys), said]), (*keys, *(named[1].split(".") if named else ())))


def _dotted(keys: Sequence[str]) -> list[str]:
    return [".".join(keys)] if keys else []


Reason = Callable[["re.Match[str]", Collection[str]], str]


def _no_argument(found: "re.Match[str]", known: Collection[str]) -> str:
    name = found[1].replace(".init_args", "")
    if name == "root":
        return f"there is no argument 'root': these data need no folder; {FOLDER.format('FOLDER')}"
    return (
        f"there is no argument {name!r}: {_of_an_attack(name, known) or did_you_mean(name, known)}--model.help NAME, "
        "--data.help NAME and fit --help list them"
    )


def _of_an_attack(name: str, known: Collection[str]) -> str:
    """Of a name that the data's arguments do not have, a question with the attack's, as `did_you_mean`; else empty."""
    if "attack" not in known:
        return ""
    attacks = import_module("cleanse.attacks")
    kinds = [kind for kind in vars(attacks).values() if isinstance(kind, type) and issubclass(kind, attacks.Attack)]
    takes = [kind.__name__.lower() for kind in kinds if name in signature(kind).parameters]
    files = [file for file in shipped() if file.startswith("attacks/") and _plain(file) in takes]
    config = f"--config {files[0]} " if len(takes) == len(files) == 1 else ""
    return f"did you mean {config}--data.attack.{name}? " if takes else ""


def _plain(file: str) -> str:
    """The name of the class that a shipped config is about, in lower case."""
    return file.rpartition("/")[2].removesuffix(".yaml").replace("_", "")


def _no_section(found: "re.Match[str]", known: Collection[str]) -> str:
    name = found[1]
    return f"there is no section {name!r}: {did_you_mean(name, SECTIONS)}a config has {', '.join(SECTIONS)} and others"


def _unrecognized(found: "re.Match[str]", known: Collection[str]) -> str:
    name = found[1].lstrip("-")
    meant = usual_name(name, found[2] or "", {option.partition(".")[0] for option in known})
    meant = meant or did_you_mean(name, known).replace("did you mean ", "did you mean --")
    if "." not in name and not meant:
        meant = f"did you mean --model.{name}, --data.{name} or --trainer.{name}? "
    return f"there is no argument {found[1]}: {meant}see cleanse fit --help"


def _no_word(found: "re.Match[str]", known: Collection[str]) -> str:
    return f"{found[1]!r} stands alone: arguments are written as --NAME VALUE, and config files as --config FILE"


def _no_class(found: "re.Match[str]", known: Collection[str]) -> str:
    if os.path.isdir(found[1]):
        return f"{found[1]!r} is a folder, not a class; {FOLDER.format(found[1])}"
    return (
        f"there is no class {found[1]!r}: {did_you_mean(found[1], our_classes())}give its name, or a path such as "
        "cleanse.defenses.ISPL (knn, energy and knn_energy are methods of ContrastiveFilter, flow is FlowRelabel)"
    )


def _no_attribute(found: "re.Match[str]", known: Collection[str]) -> str:
    return f"there is no {found[2]!r} in {found[1]}: {did_you_mean(found[2], our_classes())}give a class's path"


def _no_module(found: "re.Match[str]", known: Collection[str]) -> str:
    return (
        f"there is no module {found[1]!r}: a class of your own is named by its file, mine.Stripe for mine.py "
        "in the folder that cleanse fit is started from"
    )


def _denied(found: "re.Match[str]", known: Collection[str]) -> str:
    if found[2] == "*":
        return f"{found[1]} does not come with cleanse: it is not imported; add --trust if it is yours"
    return f"{found[1]} is nothing that a config may name: it is not imported"


def _missing(found: "re.Match[str]", known: Collection[str]) -> str:
    names = [name.strip(" ,").rpartition(".")[2] for name in found[1].split(",")]
    advice = {
        "model": "name a recipe, for example with --config knn.yaml",
        "data": "name the data, for example with --config data/cifar10.yaml or --config data/folder.yaml",
    }
    name = names[0]
    return f"{name} is missing: {advice.get(name, 'it has no default, give it a value')}"


def _no_early_features(found: "re.Match[str]", known: Collection[str]) -> str:
    return (
        "a check needs an encoder with early features: give cleanse.encoders.EfficientNetLite, or "
        "cleanse.encoders.Timm with the name of one of timm's networks and, if it is not to be downloaded, a file of "
        "weights (torchvision's fit, too): --model.encoder.name resnet50 --model.encoder.weights FILE"
    )


def _expected(said: str, message: str) -> str:
    """What is to be given instead of a value that fits none of the types that were tried; empty for other messages."""
    kinds = list[str]()
    for name, choices in re.findall(r"Expected a (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])", said):
        kinds += [name.rpartition(".")[2]] if name else [choice.strip("'") for choice in choices.split(", ")]
    given = re.search(r"\. Got value: (.*)", said) or re.search(r"Given value: (.*)", message)
    return expected(kinds, given[1].strip()) if kinds and given else ""


def _no_value(found: "re.Match[str]", known: Collection[str]) -> str:
    return f"a section of a config has no value of its own, as {found[1]!r}: its arguments are given one by one"


REASONS: tuple[tuple[str, Reason], ...] = (
    (r"^Option '([^']+)' is not accepted", _no_argument),
    (r"^(?:Key|Group key) '([^']+)' is not expected", _no_argument),
    (r"does not accept option '(\w+)", _no_section),
    (r"unrecognized arguments: (--?[\w.-]+)(?:[= ](\S*))?", _unrecognized),
    (r"unrecognized arguments: (\S+)", _no_word),
    (r"Importing '([\w.]+)' is not allowed, denied by the '([\w.*]+)' entry", _denied),
    (r"(?:Expected a dot import path string|Unexpected import path format): (\S+)", _no_class),
    (r"module '([\w.]+)' has no attribute '(\w+)'", _no_attribute),
    (r"No module named '([\w.]+)'", _no_module),
    (r"following arguments are required: (.+)", _missing),
    (r"Unable to load config '(.*?)'", _no_value),
    (r"does not correspond to a subclass of FrozenEncoder", _no_early_features),
)
"""What to look for in a message, the first that fits, and what to say of it."""


def our_classes() -> list[str]:
    """The classes of ours that an argument may name."""
    rooms = ("attacks", "data", "defenses", "modules", "networks")
    parts = [import_module(f"cleanse.{room}") for room in rooms]  # now: the rest of this file must not wait for torch
    return [name for part in parts for name in vars(part) if name[0].isupper()]
