"""``cleanse check``: is there a backdoor in a folder of images? `cleanse fit` with a shipped config, no training."""

import os
from collections.abc import Sequence
from difflib import get_close_matches

from cleanse.utils.not_a_folder import not_a_folder
from cleanse.utils.usage_error import UsageError
from cleanse.utils.usual_names import usual_name

SECTIONS = (
    "model", "data", "trainer", "config", "root", "compare", "watch", "baseline", "verdict_only", "report", "threads",
    "compile", "seed_everything", "optimizer", "lr_scheduler", "ckpt_path", "weights_only", "help", "print_config",
)  # fmt: skip
"""How the arguments of `cleanse fit` begin, to its first dot."""

USAGE = """\
usage: cleanse check FOLDER [--train] [--out DIR] [--ARGUMENT VALUE ...]

Look for a backdoor in a folder with one folder of images per class: a verdict for every image, in words, as a table and
as a page. Nothing is trained and nothing in FOLDER is changed.

  --train      train a classifier on what the verdict leaves, too: from scratch, on images of at most 64 pixels; a
               ResNet-18 with the papers' schedule, or with --config quick.yaml a small network
  --out DIR    where the run's directory is made (default: runs)

Every argument of cleanse fit can be added: this is
  cleanse fit --config check.yaml --config data/folder.yaml --data.root FOLDER --data.size S --verdict_only true
where S is the images' own size, at most 224 pixels.
"""

VERDICT_ONLY = "--verdict_only=true"
QUICK = (["--config", "quick.yaml"], ["-c", "quick.yaml"], ["--config=quick.yaml"])
TRAINED = 64
"""Pixels a side of the images that ``--train`` trains on, at most: at 224 a ResNet-18 took 20 GB and hours."""


def fit_arguments(argv: Sequence[str]) -> list[str]:
    """The arguments of `cleanse fit` that a check is.

    Args:
        argv: what follows ``cleanse check``.

    Raises:
        UsageError: no folder, or one that is not there.

    >>> fit_arguments(["."])[:4]
    ['--config', 'check.yaml', '--config', 'data/folder.yaml']
    """
    from cleanse.data.natural_size import natural_size  # here: the package around it takes seconds

    folder, rest = read_options(argv)
    size, more = natural_size(folder), list[str]()
    if VERDICT_ONLY not in rest and size > TRAINED:  # the encoder still sees the images at their own size
        size, more = TRAINED, ["--model.encoder=cleanse.encoders.EfficientNetLite", "--model.encoder.size=224"]
    before, after = list[str](), list[str]()  # quick.yaml brings data of its own, which the folder replaces
    words = iter(rest)
    for word in words:
        option = [word, next(words, "")] if word in ("--config", "-c") else [word]
        (before if option in QUICK else after).extend(option)
    return [
        "--config", "check.yaml", *before, "--config", "data/folder.yaml", f"--data.root={folder}",
        f"--data.size={size}", *more, *after,
    ]  # fmt: skip


def read_options(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The folder of a check, and its options as those of `cleanse fit`.

    Args:
        argv: what follows ``cleanse check``.

    Raises:
        UsageError: an option that there is not, no folder, or one that is not there.

    >>> read_options([".", "--out", "runs", "--train"])
    ('.', ['--root=runs'])
    """
    folders, rest, train = list[str](), list[str](), False
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if word == "--train":
            train = True
        elif name == "--out":
            root = value or (words.pop(0) if words else "")
            if not root:
                raise UsageError("--out is a directory for runs: --out DIR")
            rest += [f"--root={root}"]
        elif why := _no_option(name, value if equals else next(iter(words), "")):
            raise UsageError(why)
        elif not word.startswith("-") and not folders:
            folders.append(word)
        elif word.startswith("--") and not equals:
            rest.append(word)
            rest += [words.pop(0)] if words else []
        else:
            rest.append(word)
    if not folders:
        values = [value for word in rest for value in word.split("=") if os.path.isdir(value)]
        raise UsageError(
            f"say which folder of images to check, without an option: cleanse check {next(iter(values), 'FOLDER')}"
        )
    if why := not_a_folder(folders[0]):
        raise UsageError(why)
    verdict_only = [] if train else [VERDICT_ONLY]
    return folders[0], [*verdict_only, *rest]


def _no_option(name: str, value: str) -> str:
    """What is wrong with an option that neither the check nor `cleanse fit` has; empty for any other word.

    >>> _no_option("--output", "x")
    'there is no option --output: did you mean --out x? see cleanse check --help'
    >>> _no_option("--root", "x"), _no_option("--model.lr", "1"), _no_option("photos", ""), _no_option("--", "")
    ('', '', '', '')
    """
    first, dot, rest = name.lstrip("-").partition(".")
    if not name.startswith("-") or not first or first.rstrip("+") in SECTIONS or name in ("-c", "-h"):
        return ""
    meant = "" if dot else usual_name(name, "" if value.startswith("-") else value, ("out", *SECTIONS))
    own = [] if dot else get_close_matches(name, ["--out", "--train"], n=1, cutoff=0.75)
    near = own or [f"--{found}{dot}{rest}" for found in get_close_matches(first, SECTIONS, n=1, cutoff=0.75)]
    if not meant and near:
        meant = f"did you mean {near[0]}? "
    if not meant and not dot:
        meant = f"did you mean --model.{first}, --data.{first} or --trainer.{first}? "
    if "--data.root" in meant:
        meant = "the folder is given without an option, as in cleanse check FOLDER; "
    return f"there is no option {name}: {meant}see cleanse check --help"
