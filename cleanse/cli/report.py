"""``cleanse report``: one HTML page about a run, or one that compares several."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cleanse.cli.own_classes import TRUST, TRUST_HELP, take_trust
from cleanse.engine.progress import quiet
from cleanse.experiments.messages import UsageError
from cleanse.experiments.pages import report_runs

ABOUT = """\
Write one self-contained HTML page about a run, or one that compares several. It needs no network and no script.
Pictures and, in simulation, true roles come from the run's data: start the command from where the run was started.
Without the data the page says so, and has the rest."""


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def report(argv: Sequence[str]) -> None:
    """Run the command; the last line on standard output is the page.

    Args:
        argv: what follows ``cleanse report``.

    Raises:
        UsageError: wrong arguments.
        ValueError: a directory that is no run.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = _Arguments("cleanse report", description=ABOUT, formatter_class=form, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", nargs="+", help="directories of runs")
    parser.add_argument("--out", metavar="FILE", help="the page; default for one run: RUN/report.html")
    parser.add_argument(TRUST, action="store_true", help=TRUST_HELP)
    trust, words = take_trust(list(argv))
    arguments = parser.parse_args(words)
    if arguments.out is None and len(arguments.run) > 1:
        raise UsageError("several runs are compared on a page of their own: say where, with --out FILE.html")
    quiet()
    path = report_runs([Path(run) for run in arguments.run], arguments.out, trust)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(path) + b"\n")  # whatever bytes the name has
    sys.stdout.flush()
