"""``cleanse bench``: run a grid of recipes, attacks, data, rates and seeds, and report on it."""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cleanse.bench.dashboard import show_table
from cleanse.bench.executors import Slurm, run_local, status_line, submit, worker_command, write_script
from cleanse.bench.grid import Grid, read_grid
from cleanse.bench.part import Part, run_part
from cleanse.bench.plan import TIMING, plan_text
from cleanse.bench.results import GridResults
from cleanse.bench.worker import failed_cells
from cleanse.cli.own_classes import add_working_directory
from cleanse.engine.progress import quiet
from cleanse.experiments.messages import UsageError
from cleanse.report.leaderboard import as_latex, as_markdown, leaderboard_page
from cleanse.utils.files import atomic_write_text

ABOUT = """\
Run every cell of a grid once: what is done is not run again, and what two cells need is trained once. A grid is a
yaml file, yours or one that ships (cleanse configs lists them under grids/). Stop it whenever you like: the same
command goes on. The table is <root>/bench/<grid>.parquet, for pandas.read_parquet; cleanse bench report GRID makes a
page of it."""

ABOUT_REPORT = """\
Write the leaderboard of a grid: an HTML page that loads nothing, a Markdown table and a LaTeX table. Cells that failed
or are missing are on it."""


class _Arguments(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def bench(argv: Sequence[str]) -> None:
    """Run the command.

    Args:
        argv: what follows ``cleanse bench``.

    Raises:
        UsageError: wrong arguments.
        ValueError: the grid makes no sense.
    """
    if list(argv[:1]) == ["report"]:
        _report(argv[1:])
        return
    arguments = _parser().parse_args(list(argv))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        raise UsageError(
            "bench runs in one process, a cell after another: start several with --workers, --shard or --executor, and "
            "leave torchrun and --ntasks out"
        )
    quiet()
    add_working_directory()
    results = GridResults(_grid(arguments), arguments.root)
    if arguments.dry_run:
        sys.stdout.write(plan_text(results, arguments.timing) + "\n")
        return
    part = Part(
        str(results.grid.path), arguments.root, _pair("--shard", arguments.shard), _pair("--worker", arguments.worker),
        tuple(arguments.cells.split(",")) if arguments.cells else (),
        {"project": arguments.wandb, "group": results.grid.name} if arguments.wandb else None,
    )  # fmt: skip
    if arguments.retry:
        results.forget_failed(results.grid.cells)
    if arguments.executor == "slurm-script":
        _say_script(write_script(_worker(arguments), results, _slurm(arguments)))
        return
    if arguments.executor == "slurm":
        jobs = submit(part, results, _slurm(arguments))
        sys.stdout.write("".join(f"{job.job_id}\n" for job in jobs) or "every cell has ended\n")
        return
    if arguments.workers > 1 and part.shard == (1, 1):
        status = run_local(_worker(arguments), results, arguments.workers)
        if status:
            raise OSError(
                f"a worker ended with status {status}: what it said is above; the same command goes on from here"
            )
    else:
        run_part(part)
    if arguments.worker is None:
        if part.wandb is not None:
            show_table(results.table(), results.grid.name, part.wandb, Path(arguments.root) / "bench")
        _say(results)


def _say(results: GridResults) -> None:
    for cell in failed_cells(results):
        sys.stderr.write(f"failed: {cell.title}: {(results.row(cell) or {}).get('failed', '')}\n")
    if failed_cells(results):
        sys.stderr.write("--retry tries failed cells again\n")
    sys.stdout.write(f"{status_line(results)}\n{results.parquet}\n")


def _say_script(path: Path | None) -> None:
    sys.stdout.write(f"sbatch {path}\n" if path else "every cell has ended\n")


def _worker(arguments: argparse.Namespace) -> list[str]:
    """The command of a part, without the part."""
    wandb = ["--wandb", arguments.wandb] if arguments.wandb else []
    return worker_command(arguments.grid, arguments.root, wandb)


def _slurm(arguments: argparse.Namespace) -> Slurm:
    a = arguments
    return Slurm(a.jobs, a.parallel, a.partition, a.gres, a.cpus, a.hours)


def _grid(arguments: argparse.Namespace) -> Grid:
    return read_grid(arguments.grid)


def _pair(option: str, text: str | None) -> tuple[int, int]:
    if text is None:
        return (1, 1)
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"{option} is {text!r}: write it as 1/4 to 4/4")
    return int(found[1]), int(found[2])


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1")
    return int(text)


def _parser() -> _Arguments:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Arguments("cleanse bench", description=ABOUT, formatter_class=form, allow_abbrev=False)
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


def _report(argv: Sequence[str]) -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = _Arguments("cleanse bench report", description=ABOUT_REPORT, formatter_class=form, allow_abbrev=False)
    parser.add_argument("grid", metavar="GRID", help="a yaml file, such as grids/quick.yaml")
    parser.add_argument("--root", default="runs", help="directory of all runs and stages (default: runs)")
    parser.add_argument("--out", metavar="DIR", help="folder of the three files (default: ROOT/bench)")
    arguments = parser.parse_args(list(argv))
    quiet()
    results = GridResults(_grid(arguments), arguments.root)
    table = results.collect()
    if table is None:
        raise OSError(f"{results.parquet} is being written by another command: try again")
    out = Path(arguments.out) if arguments.out else results.parquet.parent
    out.mkdir(parents=True, exist_ok=True)
    name = results.grid.name
    atomic_write_text(out / f"{name}.md", as_markdown(table))
    atomic_write_text(out / f"{name}.tex", as_latex(table))
    atomic_write_text(out / f"{name}.html", leaderboard_page(table, name))
    sys.stdout.write(f"{status_line(results)}\n{out / f'{name}.html'}\n")
