"""The parser of every command that reads configs."""

import re
from argparse import HelpFormatter
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from cleanse.experiments.messages import UsageError, explain


class Parser(LightningArgumentParser):
    """Says what is wrong in one sentence instead of printing the usage of everything; takes no abbreviated names."""

    def __init__(self, *args: Any, allow_abbrev: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=allow_abbrev, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise explain(message, [action.dest for action in self._actions])

    def format_help(self, formatter: HelpFormatter | None = None) -> str:
        """Without the lists of every class in the process that would fit a type: they hide the arguments."""
        return re.sub(r",\s+known\s+subclasses:[^)]*\)", ")", super().format_help(formatter))


__all__ = ["Parser", "UsageError"]
