"""``cleanse bench``: run a grid of recipes, attacks, data, rates and seeds, and report on it."""

import argparse
import logging
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from cleanse.bench.dashboard import show_table
from cleanse.bench.executors import Slurm, run_local, status_line, submit, worker_command, write_script
from cleanse.bench.grid import Grid, read_grid
from cleanse.bench.part import Part, run_part
from cleanse.bench.plan import plan_text
from cleanse.bench.results import GridResults
from cleanse.bench.worker import failed_cells
from cleanse.cli.own_classes import add_working_directory
from cleanse.cli.parsers import bench_parser, leaderboard_parser
from cleanse.engine.progress import quiet, said_once
from cleanse.experiments.messages import UsageError
from cleanse.report.leaderboard import as_latex, as_markdown, leaderboard_page
from cleanse.utils.files import atomic_write_text

log = logging.getLogger("cleanse")


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
    arguments = bench_parser().parse_args(list(argv))
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        raise UsageError(
            "bench runs in one process, a cell after another: start several with --workers, --shard or --executor, and "
            "leave torchrun and --ntasks out"
        )
    quiet()
    add_working_directory()
    results = GridResults(_grid(arguments), arguments.root)
    if arguments.worker is None and not arguments.cells:
        _warn_of_loose_ends(results.grid)
    if arguments.dry_run:
        with said_once():
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
            folder = Path(arguments.root) / "bench"
            show_table(results.table(), results.grid.name, part.wandb, folder)
            if os.environ.get("WANDB_MODE") == "offline":
                log.info("W&B ran offline: wandb sync %s sends what it has", folder / "wandb" / "offline-run-*")
        _say(results)


def _say(results: GridResults) -> None:
    for cell in failed_cells(results):
        sys.stderr.write(f"failed: {cell.title}: {(results.row(cell) or {}).get('failed', '')}\n")
    if failed_cells(results):
        sys.stderr.write("--retry tries failed cells again\n")
    sys.stdout.write(f"{status_line(results)}\n{results.parquet}\n")


def _say_script(path: Path | None) -> None:
    sys.stdout.write(f"sbatch {shlex.quote(str(path))}\n" if path else "every cell has ended\n")


def _worker(arguments: argparse.Namespace) -> list[str]:
    """The command of a part, without the part."""
    wandb = ["--wandb", arguments.wandb] if arguments.wandb else []
    return worker_command(arguments.grid, arguments.root, wandb)


def _slurm(arguments: argparse.Namespace) -> Slurm:
    a = arguments
    return Slurm(a.jobs, a.parallel, a.partition, a.gres, a.cpus, a.hours)


def _grid(arguments: argparse.Namespace) -> Grid:
    return read_grid(arguments.grid)


def _warn_of_loose_ends(grid: Grid) -> None:
    for line in grid.loose_ends():
        log.warning("%s: %s", grid.path.name, line)


def _pair(option: str, text: str | None) -> tuple[int, int]:
    if text is None:
        return (1, 1)
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(f"{option} is {text!r}: write it as 1/4 to 4/4")
    return int(found[1]), int(found[2])


def _report(argv: Sequence[str]) -> None:
    arguments = leaderboard_parser().parse_args(list(argv))
    quiet()
    results = GridResults(_grid(arguments), arguments.root)
    _warn_of_loose_ends(results.grid)
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
