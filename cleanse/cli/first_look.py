"""What can be said of a wrong command before torch is imported, which takes seconds."""

from collections.abc import Sequence
from pathlib import Path

from cleanse.cli.check import read_options
from cleanse.cli.parsers import (
    bench_parser,
    export_parser,
    leaderboard_parser,
    report_parser,
    stages_parser,
    table_parser,
)
from cleanse.utils.configs import find_config
from cleanse.utils.not_a_folder import not_a_folder
from cleanse.utils.suggest import did_you_mean
from cleanse.utils.usage_error import UsageError

COMMANDS = (
    "check", "fit", "export", "report", "table", "predict", "test", "poison", "import", "bench", "stages", "configs"
)  # fmt: skip


def first_look(argv: Sequence[str]) -> None:
    """Stop at an unknown command, at an option of a command's own that it does not have, and at a missing config.

    Args:
        argv: the command and its arguments.

    Raises:
        UsageError: one of these.
        ValueError: a grid that is not there.
    """
    command, *words = argv
    if command not in COMMANDS:
        if Path(command).is_dir():
            raise UsageError(_of_folder(command))
        if Path(command).exists() or "://" in command:
            raise UsageError(f"{not_a_folder(command)}: cleanse check FOLDER")
        raise UsageError(
            f"there is no command {command!r}: {did_you_mean(command, COMMANDS)}there are {', '.join(COMMANDS)}"
        )
    if command == "check":
        words = read_options(words)[1]
    if command in ("check", "fit"):
        _find_configs(words)
    elif command == "report":
        report_parser().parse_args(words)
    elif command == "export":
        export_parser().parse_args(words)
    elif command == "stages":
        stages_parser().parse_args(words)
    elif command == "table":
        table_parser().parse_args(words)
    elif command == "bench" and words[:1] == ["report"]:
        find_config(leaderboard_parser().parse_args(words[1:]).grid)
    elif command == "bench":
        find_config(bench_parser().parse_args(words).grid)


def _find_configs(words: Sequence[str]) -> None:
    """Look for every file that is named with ``--config``."""
    for i, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--config", "-c"):
            value = value if equals else next(iter(words[i + 1 : i + 2]), "")
            if value and not value.startswith("-"):
                try:
                    find_config(value)
                except ValueError as error:
                    raise UsageError(str(error)) from None


def _of_folder(name: str) -> str:
    """What to do with a folder that was given instead of a command."""
    if Path(name, "config.yaml").is_file():
        return f"{name} is a run: cleanse report {name} shows it, cleanse export {name} --out DIR writes its images"
    return f"{name} is a folder: cleanse check {name} looks for a backdoor in its images"
