"""Cells of the papers' tables at full size, as many as fit in some minutes, the most valuable per minute first.

A cell is one ``cleanse fit`` with a paper's own settings (or fast.yaml's), seed 0. What it is worth and what it costs
is in `CELLS`; the cost is in millions of images that ResNet-18 is trained on, and a part that several cells share, such
as SimCLR on the same poisoned images, is paid once. Minutes follow from the images a second that this machine trains,
measured first (or ``--rate``), and from how long the cells that are done took here.

Everything can be stopped at any time. A finished cell is a row of ``results.csv`` (and of ``results.md``, made from it)
in ``--root``; the next call leaves it out. A cell that was stopped goes on from its last stage and epoch.

    python benchmarks/paper_scale.py --minutes 25                   # on a GPU, CIFAR-10 in ./data
    python benchmarks/paper_scale.py --minutes 25 --list            # what it would do, with estimates
    python benchmarks/paper_scale.py --minutes 5 --tiny             # the same on the digits, an epoch each: a rehearsal
"""

import argparse
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FIGURES = ("none_sa", "none_asr", "none_tmr", "sa", "asr", "tmr", "tpr", "fpr", "relabel_accuracy", "oracle_sa")
COLUMNS = ("cell", "table", "paper", *FIGURES, "seconds", "minutes_estimated", "device", "version", "run")
OVERHEAD = 1.0
"""Minutes that a cell takes beside its training: start, reading, evaluation, report."""


@dataclass(frozen=True)
class Cell:
    """A cell of a paper's table.

    Attributes:
        name: of the cell; what results are kept under.
        table: where the paper has it.
        paper: what the paper says there, in percent; empty where it has no such cell.
        words: of the command, after ``cleanse fit``.
        value: what the cell is worth beside the others, from 1 to 10.
        parts: what has to be trained, in millions of images for ResNet-18; two cells share the parts of one name.
        tiny: words that make it a rehearsal, beside those of `TINY`.
    """

    name: str
    table: str
    paper: str
    words: tuple[str, ...]
    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    tiny: tuple[str, ...] = ()


def _configs(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--config", f"{name}.yaml"))


ALONE = ("--compare", "[]")
RATE = ("--data.attack.class_rate", "null", "--data.attack.count", "null", "--data.attack.poison_rate")
SIMCLR_200 = ("--model.pretrain_epochs", "200", "--model.epochs", "200")  # the paper: 1000 and 1000
ISPL_TINY = ("--model.passes", "1", "--model.rounds", "2", "--model.self_training_epochs", "1")
FILTER_TINY = (
    "--model.pretrain_epochs", "1", "--model.probe_epochs", "1", "--model.pretrain_batch_size", "50",
)  # fmt: skip
FLOW_TINY = ("--model.pretrain_epochs", "1", "--model.flow_epochs", "1")
SELF_TINY = ("--model.teacher_epochs", "1", "--model.iteration_epochs", "1")
LC_TINY = ("--data.attack.surrogate_epochs", "1", "--data.attack.steps", "2")
TINY = (
    "--config", "quick.yaml", "--data.limit_train", "150", "--data.limit_test", "50", "--data.batch_size", "32",
    "--model.epochs", "1", "--report", "false",
)  # fmt: skip


def _ispl(source: int, target: int, percent: int, paper: str, value: float) -> Cell:
    """Jin, Sun, Rinard 2021 v1, Table 1: 100 epochs to clean, 100 for each of three classifiers (5 million images)."""
    data = f"{source}>{target} {percent} %"
    attack = ("--data.attack.source", source, "--data.attack.target", target, "--data.attack.class_rate", percent / 100)
    parts = {f"ispl {data}": 10.4, f"none {data}": 5.0, f"oracle {data}": 5.0}
    words = (*_configs("ispl"), *map(str, attack))
    return Cell(f"ispl {data}", "Jin et al. 2021, Table 1", paper, words, value, parts, ISPL_TINY)


def _filter(recipe: str, attack: str, words: tuple[str, ...], paper: str, value: float) -> Cell:
    """Wang et al. 2022, Table 2: SimCLR and SupCon see two views of an image; 200 epochs instead of 1,000."""
    parts = {f"simclr {attack}": 20.0, f"supcon {recipe} {attack}": 20.0}
    return Cell(
        f"{recipe} {attack}, SimCLR and SupCon 200 epochs", "Wang et al. 2022, Table 2", paper,
        (*_configs(recipe), *words, *SIMCLR_200, *ALONE), value, parts, FILTER_TINY,
    )  # fmt: skip


def _flow(attack: str, words: tuple[str, ...], paper: str, value: float, more: float = 0.0) -> Cell:
    """Sabolic et al. 2024, Table 1: SimCLR 100 epochs, flows, 200 epochs of the classifier, and 200 undefended."""
    parts = {
        f"simclr of flow {attack}": 10.0,
        f"flow {attack}": 12.0,
        f"flow none {attack}": 10.0,
        f"pgd {attack}": more,
    }
    compared = ("--compare", '["none"]')
    tiny = (*FLOW_TINY, *(LC_TINY if more else ()))
    return Cell(f"flow {attack}", "Sabolic et al. 2024, Table 1", paper, (*words, *compared), value, parts, tiny)


def _self_training(pattern: str, count: int | None, paper: str, value: float) -> Cell:
    """Pal et al. 2023, Table 2, CIFAR-10: VGG-16 is 0.6 of ResNet-18; 200 + 4 x 150 + 300 epochs of some images."""
    name = f"self_training {pattern}, {'10 %' if count is None else '1 %'} of the unlabeled"
    words = ("--data.attack.pattern", pattern, "--data.attack.unlabeled_count", "null" if count is None else str(count))
    tiny = (*SELF_TINY, *(("--data.attack.unlabeled_count", "null") if count is not None else ()))
    return Cell(
        name, "Pal et al. 2023, Table 2", paper, (*_configs("self_training"), *words, *ALONE), value,
        {name: 0.6 * (2.0 + 150 * 0.05 * 2.8 + 300 * 0.05)}, tiny,
    )  # fmt: skip


def _fast(recipe: str, attack: str, value: float) -> Cell:
    """Ours: what an hour on a CPU shows, on all 50,000 images; FastNet is 0.2 of ResNet-18."""
    parts = {f"fast {recipe} {attack}": 0.4, f"fast none {attack}": 0.1, f"fast oracle {attack}": 0.1}
    words = (*_configs(recipe, "fast"), "--config", f"attacks/{attack}.yaml", *RATE, "0.05")
    tiny = FILTER_TINY if recipe in ("knn", "energy") else FLOW_TINY if recipe == "flow" else ()
    return Cell(f"fast {recipe} {attack} 5 %", "ours", "", words, value, parts, tiny)


CELLS: tuple[Cell, ...] = (
    _ispl(7, 4, 20, "none C 90.9 A 98.2; ISPL C 86.5 A 0.3; clean C 90.9", 10),
    _ispl(7, 4, 10, "none C 90.7 A 98.0; ISPL C 87.3 A 1.2; clean C 90.8", 9),
    _ispl(8, 6, 10, "none C 90.8 A 99.6; ISPL C 87.2 A 0.0; clean C 90.7", 6),
    _ispl(9, 2, 10, "none C 90.6 A 98.2; ISPL C 87.9 A 0.0; clean C 90.9", 6),
    _filter("knn", "badnets 1000", (), "none ASR 98.4 ACC 94.19; kNN ASR 4.2 ACC 92.37", 10),
    _filter("energy", "badnets 1000", (), "none ASR 98.4 ACC 94.19; Energy ASR 4.9 ACC 92.12", 9),
    _filter(
        "knn", "blend 1000", ("--config", "attacks/blend.yaml", *RATE, "0.02"),
        "none ASR 99.9 ACC 94.14; kNN ASR 4.2 ACC 92.13", 7,
    ),
    _filter(
        "knn", "wanet 5000", ("--config", "attacks/wanet.yaml", *RATE, "0.1"),
        "none ASR 67.6 ACC 93.11; kNN ASR 3.6 ACC 92.24", 7,
    ),
    _flow("badnets", _configs("flow"), "none ACC 94.9 ASR 100; ours ACC 92.6 ASR 0.20", 9),
    _flow(
        "blend", (*_configs("flow"), "--config", "attacks/blend.yaml"),
        "none ACC 94.2 ASR 98.25; ours ACC 92.4 ASR 2.00", 7,
    ),
    _flow(
        "wanet", (*_configs("flow"), "--config", "attacks/wanet.yaml"),
        "none ACC 94.3 ASR 98.00; ours ACC 92.0 ASR 0.28", 7,
    ),
    _flow(
        "label_consistent", (*_configs("flow"), "--config", "attacks/label_consistent.yaml"),
        "none ACC 94.9 ASR 99.33; ours ACC 92.8 ASR 0.06", 6, more=10.0,
    ),
    _self_training("gray", None, "teacher SA 81.65 ASR 100; proposed SA 70.45 ASR 75.02", 6),
    _self_training("gray", 400, "teacher SA 81.65 ASR 100; proposed SA 73.37 ASR 2.40", 8),
    _self_training("rgb", 400, "teacher SA 81.45 ASR 100; proposed SA 71.49 ASR 4.98", 6),
    *(_fast("none", attack, 3) for attack in ("badnets", "blend", "wanet")),
    *(
        _fast(recipe, attack, 2)
        for recipe in ("knn", "energy", "flow", "check")
        for attack in ("badnets", "blend", "wanet")
    ),
)  # fmt: skip


# --- which one is next ---
def minutes(cell: Cell, rate: float, paid: Sequence[str] = ()) -> float:
    """How long a cell will take.

    Args:
        cell: to be run.
        rate: images a second that ResNet-18 is trained on.
        paid: names of the parts that are there already.
    """
    return OVERHEAD + sum(cost for name, cost in cell.parts.items() if name not in paid) * 1e6 / rate / 60


def next_cell(cells: Sequence[Cell], done: Sequence[str], rate: float, left: float) -> Cell | None:
    """The cell of most value per minute among those that fit in the minutes left, or None.

    Where none fits, the one of most value per minute all the same: it goes on in the next call.

    Args:
        cells: all of them.
        done: names of the finished ones.
        rate: images a second.
        left: minutes; None of the cells is begun with less than `OVERHEAD`.
    """
    paid = [part for cell in cells if cell.name in done for part in cell.parts]
    open_ = [cell for cell in cells if cell.name not in done]
    if not open_ or left < OVERHEAD:
        return None
    fitting = [cell for cell in open_ if minutes(cell, rate, paid) <= left]
    return max(fitting or open_, key=lambda cell: cell.value / minutes(cell, rate, paid))


def corrected(rate: float, rows: Sequence[Mapping[str, Any]]) -> float:
    """The rate, by how long the finished cells took of what was estimated; those of other devices do not count."""
    ratios = [
        max(0.1, float(row["seconds"]) / 60 - OVERHEAD) / max(0.1, float(row["minutes_estimated"]) - OVERHEAD)
        for row in rows
    ]
    return rate / statistics.median(ratios) if ratios else rate


# --- running, and what is kept ---
def read(root: Path) -> list[dict[str, Any]]:
    """The rows that are there."""
    path = root / "results.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(root: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """``results.csv`` and ``results.md``, each aside and then renamed."""
    root.mkdir(parents=True, exist_ok=True)
    aside = root / ".results.csv.aside"
    with aside.open("w", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    aside.replace(root / "results.csv")
    shown = ("cell", "table", *FIGURES, "paper", "seconds", "device")
    lines = [" | ".join(shown), "|".join(["---"] * len(shown))]
    lines += [" | ".join(_shown(name, row.get(name, "")) for name in shown) for row in rows]
    aside = root / ".results.md.aside"
    aside.write_text("".join(f"| {line} |\n" for line in lines), encoding="utf-8")
    aside.replace(root / "results.md")


def _shown(name: str, value: Any) -> str:
    if name in FIGURES:
        return "-" if value in ("", None) else f"{100 * float(value):.1f}"
    return f"{float(value):.0f}" if name == "seconds" else str(value)


def run(cell: Cell, root: Path, seconds: float, more: Sequence[str]) -> dict[str, Any] | None:
    """The cell's results, or None if the time was over before; raises if the command failed."""
    command = [sys.executable, "-m", "cleanse", "fit", *cell.words, *more]
    command += ["--root", str(root), "--seed_everything", "0"]
    print(f"\n{cell.name}: {' '.join(command[1:])}", file=sys.stderr, flush=True)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it says how to go on; its stages are kept
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return None
    if process.returncode:
        raise RuntimeError(f"{cell.name}: the command ended with {process.returncode}")
    directory = Path(out.splitlines()[-1])
    found: dict[str, Any] = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    return {**found, "run": str(directory)}


def measured_rate(device: str) -> float:
    """Images a second that ResNet-18 is trained on here."""
    from speed import best_precision, rows, steps_for  # slow: everything that it compares with

    row = dict(rows(device, best_precision(device), 1000))["resnet18"]()
    steps = steps_for(row.ours, 5.0)
    return steps * row.units[0] / row.ours(steps)


def device_name() -> str:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True, help="stop after so many")
    parser.add_argument("--root", type=Path, default=Path("runs/paper_scale"), help="of results and stages")
    parser.add_argument("--rate", type=float, help="images a second that ResNet-18 is trained on; measured if not said")
    parser.add_argument("--only", nargs="+", default=[], help="words, of which a cell's name has one")
    parser.add_argument("--tiny", action="store_true", help="a rehearsal on the digits")
    parser.add_argument("--list", action="store_true", help="show the order and the estimates, and run nothing")
    asked, more = parser.parse_known_args(argv)
    end = time.monotonic() + 60 * asked.minutes
    device = device_name()
    cells = [c for c in CELLS if not asked.only or any(word in c.name for word in asked.only)]
    if not cells:
        parser.error(f"no cell's name has {' or '.join(asked.only)}; --list shows them")
    first = asked.rate or measured_rate("cpu" if device.startswith("CPU") else "cuda")
    rows, failed = read(asked.root), list[str]()
    if asked.list:
        _list(cells, [row["cell"] for row in rows], corrected(first, [r for r in rows if r["device"] == device]))
        return
    while True:
        rate = corrected(first, [row for row in rows if row["device"] == device])
        done = [row["cell"] for row in rows]
        cell = next_cell(cells, [*done, *failed], rate, (end - time.monotonic()) / 60)
        if cell is None:
            break
        paid = [part for c in cells if c.name in done for part in c.parts]
        # by the rate that was measured, so that the correction is of it
        estimate = minutes(cell, first, paid)
        begun = time.monotonic()
        try:
            found = run(cell, asked.root, end - begun, [*(TINY + cell.tiny if asked.tiny else ()), *more])
        except RuntimeError as error:
            print(error, file=sys.stderr)
            failed.append(cell.name)
            continue
        if found is None:
            print(f"{cell.name}: not finished; the same command goes on with it", file=sys.stderr)
            break
        known = {"cell": cell.name, "table": cell.table, "paper": cell.paper, "device": device}
        took = {"seconds": round(time.monotonic() - begun, 1), "minutes_estimated": round(estimate, 2)}
        rows.append({**found, **known, **took})
        write(asked.root, rows)
    print(f"{len(rows)} of {len(CELLS)} cells are in {asked.root / 'results.md'}")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _list(cells: Sequence[Cell], done: Sequence[str], rate: float) -> None:
    names, total = list(done), 0.0
    print(f"{rate:,.0f} images/s of ResNet-18; done: {', '.join(done) or 'none'}")
    while (cell := next_cell(cells, names, rate, float("inf"))) is not None:
        paid = [part for c in cells if c.name in names for part in c.parts]
        total += minutes(cell, rate, paid)
        print(f"{minutes(cell, rate, paid):7.1f} min, {total:7.1f} in all, value {cell.value:g}: {cell.name}")
        names.append(cell.name)


if __name__ == "__main__":
    os.environ.setdefault("WANDB_MODE", "offline")
    main()
