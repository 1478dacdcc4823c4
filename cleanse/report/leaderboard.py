"""A grid's table for people: a page that loads nothing, Markdown and LaTeX; mean and deviation over seeds."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanse.report.detection_figures import without_detection
from cleanse.report.leaderboard_chart import small_multiples
from cleanse.report.meanings import MEANING, SHORT
from cleanse.utils.text import readable
from cleanse.version import __version__

if TYPE_CHECKING:
    import pandas as pd

WHAT = ("recipe", "change", "attack", "data", "rate")
FIGURES = {
    name: (SHORT.get(name, name.upper()), MEANING[name])
    for name in (
        "sa", "asr", "ra", "tmr", "tpr", "fpr", "auroc", "relabel_accuracy", "relabel_accuracy_all", "fpr_clean",
    )
}  # fmt: skip
"""Heading and meaning of the figures that a leaderboard has, in per cent."""
LEFT = ("Recipe", "Attack", "Data", "Given")
"""Columns of texts."""
COMPARED = ("sa", "asr", "tmr", "tpr", "fpr", "relabel_accuracy", "relabel_accuracy_all")
"""Figures that a paper may have published."""


def leaderboard(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """One row for the cells that differ in their seed only, in the table's order.

    Keys: `WHAT`, ``cells`` (how many are done, failed and missing), ``given``, each figure of `FIGURES` as (mean,
    sample deviation, number of seeds), ``published`` and ``difference`` by figure, ``source``, ``seconds`` and
    ``peak_memory_mb`` as means. Fractions, not per cent; nan for what is not there.

    Args:
        table: one row per cell, as a grid leaves it.
    """
    rows = []
    for key, own in table.groupby(list(WHAT), sort=False, dropna=False):
        done = own[own["status"] == "done"]
        row: dict[str, Any] = dict(zip(WHAT, key, strict=True))
        row["cells"] = {name: int((own["status"] == name).sum()) for name in ("done", "failed", "missing")}
        row["given"] = ", ".join(sorted({text for text in done["given"] if text}))
        spreads = {name: _spread(done[name]) for name in FIGURES}
        row |= without_detection(row["recipe"], spreads, (math.nan, math.nan, 0))
        published = {name: own[f"published_{name}"].mean() for name in COMPARED}
        row["published"] = {name: float(v) for name, v in published.items() if not math.isnan(v)}
        row["difference"] = {name: row[name][0] - v for name, v in row["published"].items()}
        row["source"] = next((text for text in own["published_source"] if text), "")
        row |= {name: float(done[name].mean()) for name in ("seconds", "peak_memory_mb")}
        rows.append(row)
    return rows


def leaderboard_page(table: "pd.DataFrame", title: str) -> str:
    """The page: a table that one can sort, published figures beside ours, SA against ASR, and what failed.

    Args:
        table: one row per cell, as a grid leaves it.
        title: of the grid.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["svg"] = Markup
    rows = leaderboard(table)
    shown = [name for name in FIGURES if any(row[name][2] for row in rows)]
    compared = [name for name in COMPARED if any(name in row["published"] for row in rows)]
    shown = [name for name in FIGURES if name in (*shown, *compared)]
    columns = [("Recipe", False), ("Attack", False), ("Data", False), ("Rate %", True), ("Seeds", True)]
    for name in shown:
        columns.append((FIGURES[name][0], True))
        if name in compared:  # beside ours: on a narrow screen what stands at the end is not seen
            columns += [(f"{FIGURES[name][0]} published", True), ("difference", True)]
    columns += [("Given", False), ("Seconds", True), ("MB", True)]
    drawn = [d for d in (small_multiples(rows),) if d is not None]
    bad = table[table["status"] != "done"]
    return environment.get_template("leaderboard.html.j2").render(
        title=readable(title), columns=columns, rows=[_cells(row, shown, compared) for row in rows],
        charts=[
            {"svg": d.chart.svg("sa-asr"), "alt": d.alt, "caption": d.caption, "rem": 6 * d.chart.figure.get_figwidth()}
            for d in drawn
        ],  # one small chart does not fill the page
        figures={FIGURES[name][0]: FIGURES[name][1] for name in shown}, cells=len(table),
        count={name: int((table["status"] == name).sum()) for name in ("done", "failed", "missing")},
        sources=sorted({row["source"] for row in rows if row["source"]}), version=__version__,
        bad=[
            {k: readable(str(v), 400) for k, v in one.items()} | {"what": _name(one), "seed": int(one["seed"])}
            for one in bad[[*WHAT, "seed", "status", "failed"]].to_dict("records")
        ],
    )  # fmt: skip


def as_markdown(table: "pd.DataFrame") -> str:
    """The leaderboard for papers, in Markdown and per cent: recipes by attacks for each data set, then every figure."""
    rows = leaderboard(table)
    parts = []
    for heading, lines in (*_by_attack(rows), _plain_table(rows)):
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in (heading, *lines)]
        marks = ["---" if name in LEFT else "--:" for name in heading]
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in (escaped[0], marks, *escaped[1:])))
    return "\n\n".join([*parts, _what_it_shows(rows)]) + "\n"


def as_latex(table: "pd.DataFrame") -> str:
    """The same as LaTeX ``tabular``; comments say what they need and what their figures are."""
    rows = leaderboard(table)
    parts = ["% needs \\usepackage{booktabs}", f"% {_what_it_shows(rows)}"]
    for heading, lines in (*_by_attack(rows), _plain_table(rows)):
        body = [" & ".join(_tex(cell) for cell in line) + r" \\" for line in lines]
        top = " & ".join(_tex(cell) for cell in heading) + r" \\"
        sides = "".join("l" if name in LEFT else "r" for name in heading)
        parts += [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", top, r"\midrule", *body]
        parts += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join(parts) + "\n"


def _by_attack(rows: Sequence[Mapping[str, Any]]) -> list[tuple[list[str], list[list[str]]]]:
    """Heading and lines of a table for each data set: a line for each recipe, SA / ASR in a column for each attack."""
    tables = []
    for data in dict.fromkeys(row["data"] for row in rows):
        cells = {}
        for row in rows:
            if row["data"] == data:
                figures = [_figure(row[name], row["cells"]["done"]) or "-" for name in ("sa", "asr")]
                rate = f" {_rate(row['rate'])} %" if _rate(row["rate"]) else ""
                what = readable(row["attack"]) + rate
                cells[_name(row), what] = " / ".join(figures) if figures != ["-", "-"] else "-"
        recipes, attacks = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
        if len(recipes) > 1 and len(attacks) > 1:
            lines = [[recipe, *(cells.get((recipe, attack), "-") for attack in attacks)] for recipe in recipes]
            tables.append((["Recipe", *attacks], lines))
    return tables


def _what_it_shows(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line about the figures of a table that is no page."""
    sources = dict.fromkeys(row["source"] for row in rows if row["source"])
    published = f" Published, and ours less that: {readable('; '.join(sources))}." if sources else ""
    words = "Per cent; recipes by attacks: SA / ASR; mean ± standard deviation over seeds"
    return f"{words}, with the number of seeds where some have no figure.{published}"


def _plain_table(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines of the tables that are no page."""
    shown = [name for name in FIGURES if any(row[name][2] for row in rows)]
    compared = [name for name in COMPARED if any(name in row["published"] for row in rows)]
    heading = ["Recipe", "Attack", "Data", "Rate %", "Seeds", *(FIGURES[name][0] for name in shown)]
    heading += [f"{FIGURES[name][0]} published" for name in compared]
    told = any(row["given"] for row in rows)
    heading += ["Given"] if told else []
    lines = []
    for row in rows:
        line = [_name(row), readable(row["attack"]), readable(row["data"]), _rate(row["rate"]), _seeds(row)]
        line += [_figure(row[name], row["cells"]["done"]) for name in shown]
        for name in compared:
            published = row["published"].get(name)
            text = "" if published is None else f"{100 * published:.2f}"
            line.append(text if not text or not row[name][2] else f"{text} ({100 * row['difference'][name]:+.1f})")
        line += [readable(row["given"])] if told else []
        lines.append([cell or "-" for cell in line])
    return heading, lines


def _cells(row: Mapping[str, Any], shown: Sequence[str], compared: Sequence[str]) -> dict[str, Any]:
    """A row of the page: texts, each with the number that it is sorted by."""
    cells = [
        {"text": _name(row), "key": _name(row)},
        {"text": readable(row["attack"]), "key": readable(row["attack"])},
        {"text": readable(row["data"]), "key": readable(row["data"])},
        {"text": _rate(row["rate"]), "key": _key(row["rate"])},
        {"text": _seeds(row), "key": str(row["cells"]["done"])},
    ]
    for name in shown:
        cells.append({"text": _figure(row[name], row["cells"]["done"]), "key": _key(row[name][0])})
        if name not in compared:
            continue
        published, difference = row["published"].get(name), row["difference"].get(name, math.nan)
        there = published is not None and not math.isnan(difference)
        cells.append({"text": "" if published is None else f"{100 * published:.2f}", "key": _key(published)})
        cells.append({"text": f"{100 * difference:+.1f}" if there else "", "key": _key(difference)})
    cells.append({"text": readable(row["given"]), "key": readable(row["given"])})
    for name in ("seconds", "peak_memory_mb"):
        cells.append({"text": "" if math.isnan(row[name]) else f"{row[name]:,.0f}", "key": _key(row[name])})
    return {"cells": cells, "whole": row["cells"]["failed"] + row["cells"]["missing"] == 0}


def _name(row: Mapping[Any, Any]) -> str:
    return readable(f"{row['recipe']} {row['change']}".strip())


def _seeds(row: Mapping[str, Any]) -> str:
    """How many are done, and how many are not."""
    count = row["cells"]
    more = [f"{count[name]} {name}" for name in ("failed", "missing") if count[name]]
    return ", ".join([str(count["done"]), *more])


def _spread(values: Any) -> tuple[float, float, int]:
    """Mean, sample standard deviation and number of the values that are there."""
    there = values.dropna()
    return float(there.mean()), float(there.std()), len(there)


def _figure(spread: tuple[float, float, int], seeds: int) -> str:
    mean, deviation, count = spread
    if not count:
        return ""
    text = f"{100 * mean:.1f}" if count == 1 else f"{100 * mean:.1f} ± {100 * deviation:.1f}"
    return text if count == seeds else f"{text} ({count} of {seeds})"


def _rate(rate: float | None) -> str:
    return "" if rate is None or math.isnan(rate) else f"{100 * rate:g}"


def _key(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {c: f"\\{c}" for c in "&%$#_{}"}
    escaped = "".join(special.get(c, c) for c in text)
    return re.sub(r"\(-(?=\d)", "($-$", escaped)  # a difference's sign is no hyphen
