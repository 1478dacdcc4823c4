"""Whose classes a command imports: `cleanse fit` yours, every other command only ours unless it is told to trust."""

import os
import sys

TRUST = "--trust"
TRUST_HELP = (
    "import the classes that the config names, whoever wrote them, from the working directory too; without it, only "
    "those that come with cleanse"
)


def add_working_directory() -> None:
    """Let classes in the working directory be imported; whatever else has the same name goes first."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)


def take_trust(words: list[str]) -> tuple[bool, list[str]]:
    """Whether ``--trust`` is among the words of a command, and the others.

    >>> take_trust(["RUN", "--trust"])
    (True, ['RUN'])
    """
    trusted = TRUST in words
    if trusted:
        add_working_directory()
    return trusted, [word for word in words if word != TRUST]
