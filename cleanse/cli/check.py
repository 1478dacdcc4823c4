"""``cleanse check``: is there a backdoor in a folder of images? `cleanse fit` with a shipped config, no training."""

import os
from collections.abc import Sequence
from difflib import get_close_matches

from cleanse.data.natural_size import natural_size
from cleanse.experiments.messages import SECTIONS, UsageError

USAGE = """\
usage: cleanse check FOLDER [--train] [--out DIR] [--ARGUMENT VALUE ...]

Look for a backdoor in a folder with one folder of images per class: a verdict for every image, in words, as a table and
as a page. Nothing is trained and nothing in FOLDER is changed.

  --train      train a classifier on what the verdict leaves, too
  --out DIR    where the run's directory is made (default: runs)

Every argument of cleanse fit can be added: this is
  cleanse fit --config check.yaml --config data/folder.yaml --data.root FOLDER --data.size S --verdict_only true
where S is the images' own size, at most 224 pixels.
"""


def fit_arguments(argv: Sequence[str]) -> list[str]:
    """The arguments of `cleanse fit` that a check is.

    Args:
        argv: what follows ``cleanse check``.

    Raises:
        UsageError: no folder, or one that is not there.

    >>> fit_arguments(["."])[:4]
    ['--config', 'check.yaml', '--config', 'data/folder.yaml']
    """
    folders, rest, train = list[str](), list[str](), False
    words = iter(argv)
    for word in words:
        if word == "--train":
            train = True
        elif word == "--out" or word.startswith("--out="):
            root = word.partition("=")[2] or next(words, "")
            if not root:
                raise UsageError("--out is a directory for runs: --out DIR")
            rest += [f"--root={root}"]
        elif near := _own_option(word):
            raise UsageError(f"there is no option {word.partition('=')[0]}: did you mean {near}?")
        elif not word.startswith("-") and not folders:
            folders.append(word)
        elif word.startswith("--") and "=" not in word:
            rest.append(word)
            rest += [value for value in [next(words, None)] if value is not None]
        else:
            rest.append(word)
    if not folders:
        raise UsageError("say which folder of images to check: cleanse check FOLDER")
    if not os.path.isdir(folders[0]):
        raise UsageError(
            f"there is no folder {folders[0]!r}: cleanse check takes a folder with one folder of images per class"
        )
    verdict_only = [] if train else ["--verdict_only=true"]
    return [
        "--config", "check.yaml", "--config", "data/folder.yaml", f"--data.root={folders[0]}",
        f"--data.size={natural_size(folders[0])}", *verdict_only, *rest,
    ]  # fmt: skip


def _own_option(word: str) -> str:
    """Which option of the check a word may mean that is none of it; empty for what `cleanse fit` has.

    >>> _own_option("--output"), _own_option("--trian"), _own_option("--root=x"), _own_option("--model.lr")
    ('--out', '--train', '', '')
    """
    name = word.partition("=")[0]
    if not name.startswith("--") or "." in name or name.lstrip("-") in SECTIONS:
        return ""
    return next(iter(get_close_matches(name, ["--out", "--train"], n=1, cutoff=0.75)), "")
