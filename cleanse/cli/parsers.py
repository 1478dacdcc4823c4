"""The options of the commands that have a parser of their own; nothing heavy is imported to read them."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, get_args

from cleanse.bench.timing import TIMING
from cleanse.cli.own_classes import TRUST, TRUST_HELP
from cleanse.utils.expected import expected
from cleanse.utils.suggest import did_you_mean
from cleanse.utils.usage_error import UsageError
from cleanse.utils.usual_names import usual_name

Mode = Literal["copy", "hardlink", "symlink", "csv"]
"""What `cleanse export` does with files."""

ABOUT_REPORT = """\
Write one self-contained HTML page about a run, or one that compares several. It needs no network and no script.
Pictures and, in simulation, true roles come from the run's data: start the command from where the run was started.
Without the data the page says so, and has the rest."""

ABOUT_EXPORT = """\
Write the cleansed data set of a run. A folder of images stays as it was laid out: kept images under their name,
relabeled ones in the folder of their new class (as NAME-2 if the source has that name there already, NAME-3 ...).
Of any other data set, and where the run simulated an attack, the images are written as DIR/<class>/<id>.png as the
run had them. DIR/labels.csv lists the files with old and new label, DIR/dropped.csv what was left out, and why.
A relabeled image that carries a trigger still carries it: under its right label it does not teach the attack, but the
folder is not free of it. --drop-relabeled leaves these images out.

Images that the verdict does not speak of (the part that was held out to measure accuracy, a test folder, what
limit_train left out) are listed in labels.csv without a file; --with-held-out exports them, too, as they are."""

ABOUT_BENCH = """\
Run every cell of a grid once: what is done is not run again, and what two cells need is trained once. A grid is a
yaml file, yours or one that ships (cleanse configs lists them under grids/). Stop it whenever you like: the same
command goes on. The table is <root>/bench/<grid>.parquet, for pandas.read_parquet; cleanse bench report GRID makes a
page of it."""

ABOUT_LEADERBOARD = """\
Write the leaderboard of a grid: an HTML page that loads nothing, a Markdown table and a LaTeX table. Cells that failed
or are missing are on it."""


ABOUT_STAGES = """\
List the stages under a root, the largest first: size, age, the time that they took, and how many runs link to them.
--prune removes those that no run links to; never another one, and none that is being computed. A stage that is
removed is made again when a run needs it."""

ABOUT_TABLE = """\
Print one line for the runs that differ in their seed only: figures in per cent, mean +- standard deviation. Recipes
have the names that one types; whatever else the runs differ in has a column. Folders that are no run are passed over,
so that runs/* will do."""


class Arguments(argparse.ArgumentParser):
    """A parser whose errors are `UsageError`, in plain words."""

    def parse_args(self, args: Sequence[str], namespace: None = None) -> argparse.Namespace:  # type: ignore[override]
        """Look for options that there are not before the parser misses others: one may be meant by the other."""
        for i, word in enumerate(args[: args.index("--")] if "--" in args else args):
            name, equals, value = word.partition("=")
            if name.startswith("--") and name not in self._option_string_actions:
                following = "".join(args[i + 1 : i + 2])
                raise UsageError(self._no_option(name, value if equals or following.startswith("-") else following))
        return super().parse_args(args, namespace)

    def _no_option(self, name: str, value: str) -> str:
        own = [option.lstrip("-") for option in self._option_string_actions]
        near = did_you_mean(name.lstrip("-"), own).replace("did you mean ", "did you mean --")
        return f"there is no option {name}: {usual_name(name, value, own) or near}see {self.prog} --help"

    def error(self, message: str) -> NoReturn:
        named = re.match(r"argument (\S+): ", message)
        option, said = (named[1], message[named.end() :]) if named else ("", message)
        found: Any
        if found := re.fullmatch(r"invalid (int|float) value: '(.*)'", said):
            said = expected([found[1]], found[2])
        elif found := re.match(r"invalid choice: '(.*?)' \(choose from (.*)\)", said):
            said = expected([choice.strip("' ") for choice in found[2].split(",")], found[1])
        elif found := re.fullmatch(r"ignored explicit argument '(.*)'", said):
            said = f"this option takes no value, such as {found[1]!r}"
        elif said == "expected one argument":
            said = "a value is missing after it"
        elif found := re.fullmatch(r"the following arguments are required: (.*)", said):
            said = f"{found[1].replace(', ', ' and ')} must be given: see {self.prog} --help"
        elif found := re.match(r"unrecognized arguments: (\S+)", said):
            said = f"{found[1]!r} is one too many: see {self.prog} --help"
        raise UsageError(f"{option}: {said}" if option else said)


def _parser(command: str, about: str) -> Arguments:
    form = argparse.RawDescriptionHelpFormatter
    return Arguments(f"cleanse {command}", description=about, formatter_class=form, allow_abbrev=False)


def report_parser() -> Arguments:
    """Of ``cleanse report``."""
    parser = _parser("report", ABOUT_REPORT)
    parser.add_argument("run", metavar="RUN", nargs="+", help="directories of runs")
    parser.add_argument("--out", metavar="FILE", help="the page; default for one run: RUN/report.html")
    parser.add_argument(TRUST, action="store_true", help=TRUST_HELP)
    return parser


def export_parser() -> Arguments:
    """Of ``cleanse export``."""
    parser = _parser("export", ABOUT_EXPORT)
    parser.add_argument("run", metavar="RUN", help="directory of the run")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to make; missing or empty")
    parser.add_argument(
        "--mode",
        choices=get_args(Mode),
        default="copy",
        help="copy (default); hardlink (no extra space: a change to one file changes both) or symlink (to where the "
        "source is now), for folders; csv: the two tables only",
    )
    parser.add_argument(
        "--drop-relabeled", action="store_true", help="leave relabeled images out: a trigger would still be on them"
    )
    parser.add_argument("--with-held-out", action="store_true", help="also what the verdict does not speak of")
    parser.add_argument(
        "--short-list",
        type=int,
        metavar="N",
        help="instead of the data set, a table of the N most suspicious images (short_list.csv), to look at",
    )
    parser.add_argument("--force", action="store_true", help="export although the verdict flags most of the images")
    parser.add_argument(TRUST, action="store_true", help=TRUST_HELP)
    return parser


def bench_parser() -> Arguments:
    """Of ``cleanse bench``."""
    parser = _parser("bench", ABOUT_BENCH)
    parser.add_argument("grid", metavar="GRID", help="a yaml file, such as grids/quick.yaml")
    parser.add_argument("--root", default="runs", help="directory of all runs and stages (default: runs)")
    parser.add_argument("--dry-run", action="store_true", help="say what there is to do, and how long it takes")
    parser.add_argument(
        "--timing", type=float, default=TIMING, metavar="SECONDS",
        help=f"with --dry-run: time no further step of a training after this long (default: {TIMING:.0f}; 0: none)",
    )  # fmt: skip
    parser.add_argument("--workers", type=_positive, default=1, help="processes on this machine (default: 1)")
    parser.add_argument("--shard", metavar="I/N", help="only the I-th of N parts of the cells, from 1")
    parser.add_argument("--retry", action="store_true", help="try cells again that failed")
    parser.add_argument("--wandb", metavar="PROJECT", help="log to W&B: a group for the grid, a run for each cell")
    parser.add_argument("--executor", choices=("local", "slurm", "slurm-script"), default="local")
    slurm = parser.add_argument_group("Slurm (slurm submits with submitit; slurm-script writes a script for sbatch)")
    slurm.add_argument("--jobs", type=_positive, default=100, help="jobs of the array at most (default: 100)")
    slurm.add_argument("--parallel", type=_positive, default=10, help="of them at the same time (default: 10)")
    slurm.add_argument("--partition")
    slurm.add_argument("--gres", help="such as gpu:1")
    slurm.add_argument("--cpus", type=_positive, help="CPUs of each job")
    slurm.add_argument("--hours", type=float, default=4.0, help="time limit of a job (default: 4)")
    for hidden in ("--worker", "--cells"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    return parser


def leaderboard_parser() -> Arguments:
    """Of ``cleanse bench report``."""
    parser = _parser("bench report", ABOUT_LEADERBOARD)
    parser.add_argument("grid", metavar="GRID", help="a yaml file, such as grids/quick.yaml")
    parser.add_argument("--root", default="runs", help="directory of all runs and stages (default: runs)")
    parser.add_argument("--out", metavar="DIR", help="folder of the three files (default: ROOT/bench)")
    return parser


def stages_parser() -> Arguments:
    """Of ``cleanse stages``."""
    parser = _parser("stages", ABOUT_STAGES)
    parser.add_argument("--root", default="runs", help="directory of all runs and stages (default: runs)")
    parser.add_argument("--unused", action="store_true", help="only those that no run links to")
    parser.add_argument("--older", metavar="AGE", help="only those made at least so long ago, such as 30d, 12h or 90m")
    parser.add_argument(
        "--prune", action="store_true", help="remove those that no run links to (default of --older: 1d, since a run "
        "that has not ended yet links to nothing)",
    )  # fmt: skip
    return parser


def table_parser() -> Arguments:
    """Of ``cleanse table``."""
    parser = _parser("table", ABOUT_TABLE)
    parser.add_argument("run", metavar="RUN", nargs="+", help="directories of runs, such as runs/*")
    parser.add_argument("--csv", metavar="FILE", help="write the figures as fractions, with <figure>_sd columns, too")
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1, not {text!r}")
    return int(text)
