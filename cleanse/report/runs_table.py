"""Many runs as one table: mean and standard deviation over seeds, with a column for whatever differs besides."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cleanse.engine.run_directory import RunDirectory
from cleanse.report.detection_figures import without_detection
from cleanse.utils.text import readable

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("cleanse")

WHAT = ("recipe", "given", "attack", "labels", "data")
RATES = ("data.attack.count", "data.attack.poison_rate", "data.attack.class_rate")
"""Arguments that are no columns where the poison rate, which every run has, tells the same runs apart."""
FIGURES = (
    "sa", "asr", "asr_max", "ra", "tmr", "none_sa", "none_asr", "oracle_sa", "oracle_asr", "tpr", "fpr", "auroc",
    "relabel_accuracy", "relabel_accuracy_all", "clean_purity", "seconds",
)  # fmt: skip
"""Figures of results.json that the table has, in order; one that no run has is left out."""
OF_NO_RESULT = (
    "seed_everything",
    "root",
    "compare",
    "watch",
    "baseline",
    "threads",
    "report",
    "verdict_only",
    "config",
)
"""Arguments of a run that change none of its figures, or only which there are; of the trainer, only some do."""
OF_THE_TRAINER = ("trainer.precision", "trainer.limit_train_batches", "trainer.max_epochs", "trainer.max_steps")


def runs_table(runs: Sequence[RunDirectory]) -> "pd.DataFrame":
    """One row for the runs that differ in their seed only.

    Columns: recipe (as one types it), ``given`` (what recipes are told beyond images and labels, where any is), attack,
    ``labels`` (what its triggers stand for, where that is not one class each in all runs), data, ``poison_rate`` (of
    all training images, where an attack was simulated), every argument in which runs of the same recipe, attack and
    data differ, ``runs`` (how many), and each figure's mean and, as ``<figure>_sd``, sample standard deviation (empty
    for one run). Fractions, not per cent.

    Args:
        runs: finished ones; one that cannot be read is left out with a warning.

    Raises:
        ValueError: no run is left.
    """
    import pandas as pd

    rows = [row for run in runs if (row := _row(run)) is not None]
    if not rows:
        raise ValueError("there is no finished run among these folders: a run has config.yaml and results.json")
    differ = sorted(name for name in _differing(rows) if name not in RATES or _says_more(name, rows))
    groups: dict[tuple[object, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[k] for k in (*WHAT, "poison_rate")) + tuple(row["arguments"].get(k) for k in differ)].append(
            row
        )
    shown = [k for k in FIGURES if any(_number(row["results"].get(k)) is not None for row in rows)]
    names = (*WHAT, "poison_rate", *differ)
    table = []
    for key, own in sorted(groups.items(), key=lambda item: tuple(map(str, item[0]))):
        line: dict[str, Any] = {**dict(zip(names, key, strict=True)), "runs": len(own)}
        for figure in shown:
            values = pd.Series(
                [v for row in own if (v := _number(row["results"].get(figure))) is not None], dtype=float
            )
            line |= {figure: values.mean(), f"{figure}_sd": values.std()}
        table.append(line)
    frame = pd.DataFrame(table)
    empty = [c for c in ("poison_rate", "attack", "labels", "given") if frame[c].isna().all()]
    return frame.drop(columns=empty)


def as_text(frame: "pd.DataFrame") -> str:
    """The table for a terminal: figures as per cent, ``mean +- sd`` where there is more than one run."""
    shown = [k for k in FIGURES if k in frame]
    columns = [c for c in frame.columns if c not in shown and c.removesuffix("_sd") not in shown]
    lines = [[*columns, *map(_heading, shown)]]
    for row in frame.to_dict("records"):
        cells = [_plain(c, row[c]) for c in columns]
        lines.append(cells + [_figure(k, row[k], row[f"{k}_sd"]) for k in shown])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    sides = [str.ljust if i < len(columns) else str.rjust for i in range(len(widths))]
    padded = [[side(cell, w) for side, cell, w in zip(sides, line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def _row(run: RunDirectory) -> dict[str, Any] | None:
    try:
        results, config = run.read_results(), run.read_config()
    except (ValueError, OSError) as error:
        log.warning("left out: %s", error)
        return None
    poisoned, every = _number(results.get("poisoned")), _number(results.get("train_images"))
    rate = None if poisoned is None or not every else round(poisoned / every, 4)
    labels = results.get("attack_labels")
    results["labels"] = None if set(str(labels).split(" | ")) <= {"target", "None"} else labels
    what = {k: None if results.get(k) is None else readable(str(results[k]), 60) for k in WHAT}
    results = without_detection(results.get("recipe"), results, None)
    return {**what, "poison_rate": rate, "results": results, "arguments": dict(_arguments(config))}


def _arguments(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Dotted names, as on the command line, and plain values of what can change a result."""
    found: list[tuple[str, object]] = []
    for key, value in config.items():
        name = prefix if key == "init_args" else f"{prefix}.{key}".lstrip(".")
        if not prefix and key in OF_NO_RESULT:
            continue
        if isinstance(value, Mapping):
            found += _arguments(value, name)
        elif not name.startswith("trainer.") or name in OF_THE_TRAINER:
            found.append((name.removesuffix(".class_path"), readable(str(value), 40)))
    return found


def _differing(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """The arguments in which runs of the same recipe, attack and data differ."""
    groups: dict[tuple[object, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[tuple(row[k] for k in WHAT)].append(row["arguments"])
    found = set()
    for own in groups.values():
        for name in {name for arguments in own for name in arguments}:
            if len({arguments.get(name) for arguments in own}) > 1:
                found.add(name)
    return found


def _says_more(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs of one kind and one poison rate differ in an argument."""
    there: dict[tuple[object, ...], set[object]] = defaultdict(set)
    for row in rows:
        there[tuple(row[k] for k in (*WHAT, "poison_rate"))].add(row["arguments"].get(name))
    return any(len(values) > 1 for values in there.values())


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _heading(figure: str) -> str:
    return figure if figure == "seconds" else figure.replace("_", " ").upper()


def _plain(column: str, value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{100 * value:.2f} %" if column == "poison_rate" else str(value)


def _figure(name: str, mean: float, sd: float) -> str:
    scale = 1 if name == "seconds" else 100
    if mean != mean:
        return "-"
    return f"{scale * mean:.1f}" + ("" if sd != sd else f" +- {scale * sd:.1f}")
