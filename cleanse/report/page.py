"""The HTML page: one file that needs no network and no script, about one run or comparing several."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cleanse.report.by_trigger import by_trigger
from cleanse.report.charts import DONE, by_class, charts
from cleanse.report.content import Attention, RunContent, gallery_rows
from cleanse.report.figures import data_address, enlarged, heat, place, signed
from cleanse.report.meanings import MEANING, SHORT, meaning
from cleanse.report.most_suspicious import how_chosen, judged_counts, judged_rows, most_suspicious
from cleanse.report.pattern import Pattern
from cleanse.utils.text import readable
from cleanse.verdict import DROP, KEEP, RELABEL
from cleanse.version import __version__

if TYPE_CHECKING:
    from markupsafe import Markup

FIGURES = ("sa", "asr", "asr_max", "ra", "tmr")
DETECTION = {
    name: MEANING[name] for name in ("tpr", "fpr", "auroc", "cover_flagged", "relabel_accuracy", "relabel_accuracy_all")
}


def make_page(runs: Sequence[RunContent]) -> str:
    """The page of one run, or the one that compares several (without maps and galleries), as HTML.

    Every text from the data is escaped: in HTML by the template, and invisible characters by `readable`.

    Raises:
        ValueError: no run.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    if not runs:
        raise ValueError("runs is empty: name at least one")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"readable": readable, "svg": Markup, "breakable": _breakable}
    environment.finalize = _visible
    single = len(runs) == 1
    sections = [_section(run, f"r{i}", detailed=single) for i, run in enumerate(runs, 1)]
    there = {
        key
        for section in sections
        for row in (section["detection"], *dict(section["accuracy"]).values())
        for key, text in row.items()
        if text
    }
    return environment.get_template("page.html.j2").render(
        sections=sections, single=single, version=__version__, done=DONE, short=SHORT,
        figures={key: _meaning(key, sections) for key in FIGURES if key in there},
        detection={key: text for key, text in DETECTION.items() if key in there},
    )  # fmt: skip


def sentences(run: RunContent) -> list[str]:
    """What came out: the summary, and what was simulated."""
    results = run.results
    said = [readable(line) for line in run.words]
    if results.get("attack"):
        text = f"The attack {results['attack']} was simulated"
        if isinstance(results.get("poisoned"), int):
            text += f": {results['poisoned']:,} training images carry its trigger"
        if isinstance(results.get("tpr"), float):
            text += f". The verdict relabels or drops {100 * results['tpr']:.1f} % of them"
            if isinstance(results.get("fpr"), float):
                text += f" and {100 * results['fpr']:.1f} % of the clean images"
        said.append(text + ".")
        said += [
            " ".join(f"{name} {cell}" if name != "trigger" else f"{cell}:" for name, cell in row.items())
            for row in by_trigger(results)
        ]
    else:
        said.append(
            "No attack was simulated, so nobody knows which images are poisoned: attack success and detection figures "
            "need a simulated attack. A verdict is no proof that there was one: a recipe also flags some images of "
            "clean data."
        )
    if results.get("oracle"):
        said.append("This recipe reads the truth about the data: it is a bound, not a defense.")
    elif given := results.get("given"):
        said.append(f"This recipe was told more than images and labels: {readable(str(given))}.")
    return said


def _section(run: RunContent, salt: str, detailed: bool) -> dict[str, Any]:
    """All that the template shows of one run."""
    verdict, results = run.verdict, run.results
    compared = [
        ("No defense", {k: results.get(f"none_{k}") for k in FIGURES}),
        (f"{results.get('recipe', 'This recipe')}", {k: results.get(k) for k in FIGURES}),
        ("Clean images only (oracle)", {k: results.get(f"oracle_{k}") for k in FIGURES}),
    ]
    drawn = charts(run) if detailed else charts(run, ["classes"])
    shown = {
        kind: [
            {"svg": d.chart.svg(f"{salt}-{name}"), "alt": d.alt, "caption": d.caption}
            for name, d in drawn.items()
            if name in names
        ]
        for kind, names in (("class", ("classes",)), ("score", ("score", "role")), ("map", ("map", "truth")))
    }
    galleries = gallery_rows(verdict) if detailed else {}
    name = run.directory.path.absolute().name
    return {
        "id": salt,
        "name": name,
        "title": f"{results.get('recipe', name)} on {results.get('data', 'data')}"
        + (f" with {results['attack']}" if results.get("attack") else ""),
        "summary": sentences(run),
        "results": results,
        "accuracy": [(name, _cells(row)) for name, row in compared if any(_is_number(v) for v in row.values())],
        "detection": _cells({k: results.get(k) for k in DETECTION}),
        "pattern": None if run.pattern is None else _pattern(run, run.pattern),
        "detected": any(_is_number(results.get(k)) for k in DETECTION),
        "counts": judged_counts(verdict),
        "classes": [(run.classes[c], row) for c, row in enumerate(by_class(run).tolist())],
        "class_charts": shown["class"],
        "score_charts": shown["score"],
        "maps": shown["map"],
        "galleries": {key: [_picture(run, i) for i in rows if i in run.images] for key, rows in galleries.items()},
        "chosen": how_chosen(verdict, judged_rows(verdict), chosen) if (chosen := galleries.get("suspicious")) else "",
        "missing": run.missing,
        "near": [_neighbors(run, i) for i in run.near if i in run.images] if detailed else [],
        "compares": bool(run.near),
        "attention": [_attention(run, a) for a in run.attention] if detailed else [],
        "models": [look.model for look in run.attention[0].looks] if run.attention else [],
        "no_attention": run.no_attention,
        "seconds": [
            (key.removeprefix("seconds_"), value)
            for key, value in results.items()
            if key.startswith("seconds_") and _is_number(value)
        ],
        "total": results.get("seconds") if _is_number(results.get("seconds")) else None,
        "command": readable(f"cleanse fit --config {shlex.quote(str(run.directory.config))}"),
        "config": "\n".join(readable(line) for line in run.config.split("\n")),
    }


def _meaning(figure: str, sections: Sequence[Mapping[str, Any]]) -> str:
    """What a figure means, with the runs' names where it does not mean the same in all that have it."""
    runs: dict[str, list[str]] = {}
    for section in sections:
        if any(row[figure] for _, row in section["accuracy"]):
            runs.setdefault(meaning(figure, section["results"].get("attack_labels")), []).append(section["name"])
    return next(iter(runs)) if len(runs) == 1 else "; ".join(f"{', '.join(v)}: {text}" for text, v in runs.items())


def _picture(run: RunContent, i: int, most: int = 96) -> dict[str, str]:
    verdict, names = run.verdict, [*run.classes, "no label"]
    old, new = names[int(verdict.label[i])], names[int(verdict.new_label[i])]
    what = {KEEP: "kept", RELABEL: "relabeled", DROP: "dropped"}[int(verdict.action[i])]
    role = f"{run.roles[int(run.role[i])]} in truth" if run.role is not None and run.role[i] >= 0 else ""
    return {
        "src": data_address(run.images[i], most), "id": readable(verdict.id[i], 200), "old": readable(old, 60),
        "new": readable(new, 60) if what == "relabeled" else "", "what": what, "role": role,
        "reason": readable(verdict.reason[i], 120), "score": f"{float(verdict.score[i]):.3g}",
    }  # fmt: skip


def _pattern(run: RunContent, pattern: Pattern) -> dict[str, Any]:
    """The mean difference, enlarged, beside some of the images."""
    return {
        "src": data_address(enlarged(signed(pattern.difference), 192), most=192),
        "class": readable(run.classes[pattern.label], 60), "count": len(pattern.rows),
        "words": readable(pattern.words), "largest": f"{100 * float(pattern.difference.abs().max()):.0f} %",
        "images": [_picture(run, row) for row in most_suspicious(run.verdict, pattern.rows, 8)],
    }  # fmt: skip


def _neighbors(run: RunContent, i: int) -> dict[str, Any]:
    """An image and the ones nearest to it."""
    rows, labels = list(run.near[i]), run.verdict.label
    same = int((labels[rows] == labels[i]).sum()) if len(rows) else 0
    near = [{**_picture(run, j, most=64), "same": bool(labels[j] == labels[i])} for j in rows if j in run.images]
    return {"image": _picture(run, i), "near": near, "same": same}


def _attention(run: RunContent, a: Attention) -> dict[str, Any]:
    """A triggered test image, and where each classifier looks on it, in words too."""
    looks = []
    for look in a.looks:
        spot = divmod(int(look.saliency.argmax()), look.saliency.shape[1])
        height, width = look.saliency.shape
        where = f"strongest at the {place((spot[1] + 0.5) / width, (spot[0] + 0.5) / height)}"
        total, share = float(look.saliency.sum()), ""
        if total and float(a.changed.float().mean()) <= 0.25:
            share = f"{100 * float(look.saliency[a.changed].sum()) / total:.0f} %"
        looks.append({
            "src": data_address(heat(a.image, look.saliency)),
            "where": where if total else "nothing speaks for its answer",
            "predicted": readable(run.classes[look.predicted], 60), "share": share, "model": look.model,
        })  # fmt: skip
    return {
        "src": data_address(a.image), "id": readable(a.id, 100), "label": readable(run.classes[a.label], 60),
        "looks": looks, "changed": f"{100 * float(a.changed.float().mean()):.0f} %",
    }  # fmt: skip


def _visible(value: object) -> object:
    """What the template is about to write: no character in it can be invisible or turn the direction of writing."""
    from markupsafe import Markup

    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "\n".join(readable(line) for line in value.split("\n"))


def _breakable(text: str) -> "Markup":
    """A name that a line may break after its separators, and nowhere else."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/_.\-])", r"\1<wbr>", str(escape(text))))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Fractions in per cent; empty where one does not apply."""
    return {key: f"{100 * value:.1f}" if _is_number(value) else "" for key, value in row.items()}
