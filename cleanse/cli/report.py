"""``cleanse report``: one HTML page about a run, or one that compares several."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cleanse.cli.own_classes import take_trust
from cleanse.cli.parsers import report_parser
from cleanse.engine.progress import quiet
from cleanse.experiments.messages import UsageError
from cleanse.experiments.pages import report_runs


def report(argv: Sequence[str]) -> None:
    """Run the command; the last line on standard output is the page.

    Args:
        argv: what follows ``cleanse report``.

    Raises:
        UsageError: wrong arguments.
        ValueError: a directory that is no run.
    """
    trust, words = take_trust(list(argv))
    arguments = report_parser().parse_args(words)
    if arguments.out is None and len(arguments.run) > 1:
        raise UsageError("several runs are compared on a page of their own: say where, with --out FILE.html")
    quiet()
    path = report_runs([Path(run) for run in arguments.run], arguments.out, trust)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # whatever bytes the name has
    sys.stdout.flush()
