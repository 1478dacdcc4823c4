"""``cleanse table``: many runs as one table, mean and standard deviation over seeds."""

import sys
from collections.abc import Sequence
from pathlib import Path

from cleanse.cli.parsers import table_parser
from cleanse.engine.progress import quiet
from cleanse.engine.run_directory import RunDirectory
from cleanse.report.runs_table import as_text, runs_table
from cleanse.utils.files import atomic_write, check_new_file
from cleanse.verdict import harmless


def table(argv: Sequence[str]) -> None:
    """Run the command.

    Args:
        argv: what follows ``cleanse table``.

    Raises:
        UsageError: wrong arguments.
        ValueError: no finished run.
    """
    arguments = table_parser().parse_args(list(argv))
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
