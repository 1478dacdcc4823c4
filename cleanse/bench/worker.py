"""One process that runs many cells of a grid, beside others that do the same."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from cleanse.bench.apart import run_apart
from cleanse.bench.cell import Cell
from cleanse.bench.results import FAILED, MISSING, GridResults
from cleanse.engine.lock import StageBusy
from cleanse.experiments.build import build
from cleanse.experiments.experiment import Experiment, run_experiment
from cleanse.utils.lock import Lock

log = logging.getLogger("cleanse")

POLL = 0.3
"""Seconds between two looks at what others are computing."""

RunCell = Callable[[Cell, Path], Experiment]


def shard_of(cells: Sequence[Cell], index: int, count: int) -> list[Cell]:
    """The ``index``-th of ``count`` parts, from 1; neighbors, which share most, stay together as far as they can.

    Raises:
        ValueError: there is no such part.
    """
    if not 1 <= index <= count:
        raise ValueError(f"--shard {index}/{count}: the parts are 1/{count} to {count}/{count}")
    return list(cells[len(cells) * (index - 1) // count : len(cells) * index // count])


def in_turn(cells: Sequence[Cell], worker: int, workers: int) -> list[Cell]:
    """All cells, from another place on for each worker, so that they begin with trainings that differ."""
    start = len(cells) * worker // workers
    return [*cells[start:], *cells[:start]]


def run_cell(cell: Cell, root: Path, logger: object = None) -> Experiment:
    """Run one cell; a stage that another process is computing is not waited for.

    A cell that trains on several devices is a command of its own, which waits.

    Raises:
        ValueError, OSError: it cannot be run.
        StageBusy: another process is computing a stage.
    """
    more = {} if logger is None else {"trainer.logger": logger}
    setup = build(cell.configs, {**cell.overrides, **more, "root": str(root)})
    if setup.run.world_size() > 1:
        return run_apart(cell.words({**more, "root": str(root)}), cell.title)
    with setup.run.as_one_of_many():
        return run_experiment(setup)


def run_cells(cells: Sequence[Cell], results: GridResults, run: RunCell = run_cell) -> None:
    """Run what is not there yet, and write down how each cell ended.

    A cell that another process has, or one of whose stages another process is computing, is put off: the others come
    first. One that fails is written down with the reason, and the others go on. Ends when all have ended, whoever ran
    them; what a process has left that was killed is done by the ones that remain.

    Args:
        cells: in the order in which they are tried.
        results: where they are written down.
        run: runs one cell.
    """
    left, waiting = list(cells), dict[str, Lock]()
    while left:
        before = len(left)
        for cell in tuple(left):
            if results.status(cell) != MISSING:
                left.remove(cell)
            elif _is_free(waiting.get(cell.id)):
                waiting.pop(cell.id, None)
                busy = _try(cell, results, run)
                if busy is None:
                    left.remove(cell)
                else:
                    waiting[cell.id] = busy
        if len(left) == before:
            time.sleep(POLL)
    results.collect()


def _try(cell: Cell, results: GridResults, run: RunCell) -> Lock | None:
    """Run a cell and write its row; the lock to wait for, if somebody else is at it."""
    claim = results.claim(cell)
    if not claim.acquire():
        return claim
    try:
        if results.status(cell) != MISSING:
            return None
        log.info("cell %s", cell.title)
        results.began(cell)
        begun = time.monotonic()
        machine: dict[str, Any] = {"device": device()}
        try:
            with peak_memory() as peak:
                experiment = run(cell, results.root)
        except StageBusy as busy:
            results.ended(cell)
            return Lock(busy.path)
        except Exception as error:  # whatever a recipe runs into, the other cells go on
            why = " ".join(str(error).split()) or type(error).__name__
            if not isinstance(error, ValueError):
                why = f"{type(error).__name__}: {why}"
            log.warning("cell %s failed: %s", cell.title, why)
            machine |= {"seconds_here": round(time.monotonic() - begun, 3), "peak_memory_mb": peak()}
            results.write_failed(cell, why[:1000], machine)
        else:
            machine |= {"seconds_here": round(time.monotonic() - begun, 3), "peak_memory_mb": peak()}
            results.write_done(cell, experiment.directory, experiment.results, machine)
        results.ended(cell)
        results.collect(at_once=False)
        return None
    finally:
        claim.release()


def _is_free(lock: Lock | None) -> bool:
    """Whether nobody holds a lock any more."""
    if lock is None:
        return True
    free = lock.acquire()
    lock.release()
    return free


def device() -> str:
    """What trains: the GPU's name, or the kind of processor with its threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = "CPU"
    return f"{name}, {torch.get_num_threads()} threads"


@contextmanager
def peak_memory() -> Iterator[Callable[[], float | None]]:
    """Inside the block, a function that says the most memory in use since its start, in MB.

    Of the GPU where there is one, otherwise of this process; None where the system does not say.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield lambda: round(torch.cuda.max_memory_allocated() / 2**20, 1)
        return
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")  # the kernel forgets the peak so far
    except OSError:
        pass
    yield _peak


def _peak() -> float | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024, 1)
    except (OSError, StopIteration, ValueError):
        return None


def failed_cells(results: GridResults) -> list[Cell]:
    """The cells that ended without figures."""
    return [cell for cell in results.grid.cells if results.status(cell) == FAILED]


def threads_for(workers: int) -> int:
    """CPU threads of each of several workers on this machine."""
    return max(1, len(os.sched_getaffinity(0)) // workers) if hasattr(os, "sched_getaffinity") else 1
