"""``cleanse table``: many runs as one table, mean and standard deviation over seeds."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cleanse.engine.progress import quiet
from cleanse.engine.run_directory import RunDirectory
from cleanse.experiments.messages import UsageError
from cleanse.report.runs_table import as_text, runs_table
from cleanse.utils.files import atomic_write, check_new_file
from cleanse.verdict import harmless

ABOUT = """\
Print one line for the runs that differ in their seed only: figures in per cent, mean +- standard deviation. Recipes
have the names that one types; whatever else the runs differ in has a column. Folders that are no run are passed over,
so that runs/* will do."""


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def table(argv: Sequence[str]) -> None:
    """Run the command.

    Args:
        argv: what follows ``cleanse table``.

    Raises:
        UsageError: wrong arguments.
        ValueError: no finished run.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = _Arguments("cleanse table", description=ABOUT, formatter_class=form, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", nargs="+", help="directories of runs, such as runs/*")
    parser.add_argument("--csv", metavar="FILE", help="write the figures as fractions, with <figure>_sd columns, too")
    arguments = parser.parse_args(list(argv))
    if arguments.csv is not None:
        check_new_file(arguments.csv, "--csv")
    quiet()
    runs = [run for run in map(RunDirectory, arguments.run) if run.is_run()]
    frame = runs_table(runs)
    if arguments.csv is not None:
        safe = frame.map(lambda cell: harmless(cell) if isinstance(cell, str) else cell)
        with atomic_write(Path(arguments.csv), "w", newline="", errors="surrogateescape") as file:
            safe.to_csv(file, index=False)
    sys.stdout.write(as_text(frame) + "\n")
