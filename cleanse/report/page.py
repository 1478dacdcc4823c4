"""The HTML page: one file that needs no network and no script, about one run or comparing several."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cleanse.report.figures import data_address, histogram, principal_plane, readable, scatter, stacked_bars
from cleanse.verdict import ACTIONS, DROP, KEEP, RELABEL, Verdict
from cleanse.version import __version__

GALLERY = 24
"""Images in a gallery at most."""
MAPPED = 3000
"""Points on a map at most; more only make the page heavy."""
BARS = 40
"""Bars in the chart of classes at most; the table has all."""
DONE = ("kept", "relabelled", "dropped")
FIGURES = {
    "sa": "clean test images classified as their true class",
    "asr": "triggered test images classified as the target; low is good",
    "ra": "triggered test images classified as their true class",
    "tmr": "test images right without the trigger and the target with it; low is good",
}
DETECTION = {
    "tpr": "poisoned images that were relabelled or dropped",
    "fpr": "clean images that were relabelled or dropped",
    "auroc": "area under the ROC curve of the score, poisoned against clean",
    "relabel_accuracy": "relabelled poisoned images that got their true label",
}


@dataclass(frozen=True)
class RunContent:
    """What a page is made of: all that a run's directory holds, and what could be found besides.

    Attributes:
        directory: of the run, as the user named it.
        results: flat, of results.json.
        config: text of config.yaml.
        verdict: n rows.
        classes: names, in label order.
        features: (m, D) float, the embedding of the first m rows of the verdict; None without one.
        role: (n,) int64, an index into ``roles``, -1 where it is not known; None without a simulated attack.
        roles: names.
        images: row of the verdict to (C, H, W) uint8, for those in the galleries (`gallery_rows`).
        missing: why there are no images; empty where there are.
    """

    directory: Path
    results: Mapping[str, Any]
    config: str
    verdict: Verdict
    classes: Sequence[str]
    features: Tensor | None = None
    role: Tensor | None = None
    roles: Sequence[str] = ()
    images: Mapping[int, Tensor] = field(default_factory=dict)
    missing: str = ""


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
    environment.filters |= {"readable": readable, "svg": Markup}
    single = len(runs) == 1
    sections = [_section(run, f"r{i}", detailed=single) for i, run in enumerate(runs, 1)]
    return environment.get_template("page.html.j2").render(
        sections=sections, single=single, figures=FIGURES, detection=DETECTION, version=__version__, done=DONE
    )


def gallery_rows(verdict: Verdict) -> dict[str, list[int]]:
    """Rows of the verdict for each gallery, the most suspicious first; unreadable files have no picture."""
    order = torch.sort(verdict.score, descending=True, stable=True).indices.tolist()
    there = [i for i in order if not verdict.reason[i].startswith("unreadable: ")]
    relabelled = [i for i in there if verdict.action[i] == RELABEL]
    differ = len(verdict) > 0 and bool((verdict.score != verdict.score[0]).any())
    return {"suspicious": there[:GALLERY] if differ else [], "relabelled": relabelled[:GALLERY]}


def summary(run: RunContent) -> list[str]:
    """What came out, in sentences."""
    verdict, results = run.verdict, run.results
    n, unreadable = len(verdict), sum(reason.startswith("unreadable: ") for reason in verdict.reason)
    kept, relabelled, dropped = verdict.counts().values()
    said = [
        f"Of {n:,} training images, {kept:,} were kept, {relabelled:,} relabelled and {dropped:,} dropped"
        + (f" ({unreadable:,} of them because the file cannot be read)." if unreadable else ".")
    ]
    counts = _by_class(run)
    flagged, every = counts[:, 1:].sum(1), counts.sum(1)
    most = sorted((c for c in range(len(run.classes)) if flagged[c]), key=lambda c: -float(flagged[c] / every[c]))[:3]
    if most:
        each = "; ".join(
            f"\u201c{readable(run.classes[c], 60)}\u201d ({int(flagged[c]):,} of {int(every[c]):,} images, "
            f"{100 * float(flagged[c] / every[c]):.1f} %)"
            for c in most
        )
        said.append(f"Relabelled or dropped most, by share of the class: {each}.")
    if results.get("attack"):
        text = f"The attack {results['attack']} was simulated"
        if isinstance(results.get("poisoned"), int):
            text += f": {results['poisoned']:,} training images carry its trigger"
        if isinstance(results.get("tpr"), float):
            text += f". The verdict relabels or drops {100 * results['tpr']:.1f} % of them"
            if isinstance(results.get("fpr"), float):
                text += f" and {100 * results['fpr']:.1f} % of the clean images"
        said.append(text + ".")
    else:
        said.append(
            "No attack was simulated, so nobody knows which images are poisoned: attack success and detection figures "
            "need a simulated attack. A verdict is no proof that there was one: a recipe also flags some images of "
            "clean data."
        )
    if results.get("oracle"):
        said.append("This recipe reads the truth about the data: it is a bound, not a defense.")
    return said


def _section(run: RunContent, salt: str, detailed: bool) -> dict[str, Any]:
    """All that the template shows of one run."""
    verdict, results = run.verdict, run.results
    action = verdict.action.long()
    counts = _by_class(run)
    bars = counts[:, 1:].sum(1).argsort(descending=True, stable=True)[:BARS].sort().values
    charts: list[dict[str, str]] = []
    charts_score: list[dict[str, str]] = []
    totals = ", ".join(f"{n:,} {name}" for name, n in verdict.counts().items())
    if len(bars):
        names = [run.classes[c] for c in bars.tolist()]
        charts.append({
            "svg": stacked_bars(counts[bars], names, DONE, f"{salt}-classes"),
            "alt": f"Bar chart of the verdict for each class; in total {totals}. The table has the numbers.",
            "caption": "Images of each given class by what the verdict does with them"
            + (f"; the {BARS} classes with most relabelled or dropped." if len(bars) < len(counts) else "."),
        })  # fmt: skip
    known = run.role is not None and bool((run.role >= 0).any())
    if detailed and len(verdict):
        charts_score.append({
            "svg": histogram(verdict.score, action, DONE, f"{salt}-score"),
            "alt": "Histogram of the score. " + _medians(verdict.score, action, DONE),
            "caption": "Score by what the verdict does. " + _medians(verdict.score, action, DONE),
        })  # fmt: skip
        if known:
            role = run.role
            assert role is not None
            charts_score.append({
                "svg": histogram(verdict.score[role >= 0], role[role >= 0], run.roles, f"{salt}-role"),
                "alt": "Histogram of the score by true role. " + _medians(verdict.score, role, run.roles),
                "caption": "Score by true role (simulation). " + _medians(verdict.score, role, run.roles),
            })  # fmt: skip
    compared = [
        ("No defense", {k: results.get(f"none_{k}") for k in FIGURES}),
        (f"{results.get('recipe', 'This recipe')}", {k: results.get(k) for k in FIGURES}),
        ("Clean images only (oracle)", {k: results.get(f"oracle_{k}") for k in FIGURES}),
    ]
    galleries = gallery_rows(verdict) if detailed else {}
    name = run.directory.absolute().name
    return {
        "id": salt,
        "name": name,
        "title": f"{results.get('recipe', name)} on {results.get('data', 'data')}"
        + (f" with {results['attack']}" if results.get("attack") else ""),
        "summary": summary(run),
        "results": results,
        "accuracy": [(name, _cells(row)) for name, row in compared if any(_is_number(v) for v in row.values())],
        "detection": _cells({k: results.get(k) for k in DETECTION}),
        "detected": any(_is_number(results.get(k)) for k in DETECTION),
        "counts": verdict.counts(),
        "classes": [(run.classes[c], row) for c, row in enumerate(counts.tolist())],
        "class_charts": charts,
        "score_charts": charts_score,
        "maps": _maps(run, action, salt) if detailed else [],
        "galleries": {key: [_picture(run, i) for i in rows if i in run.images] for key, rows in galleries.items()},
        "missing": run.missing,
        "seconds": [
            (key.removeprefix("seconds_"), value)
            for key, value in results.items()
            if key.startswith("seconds_") and _is_number(value)
        ],
        "total": results.get("seconds") if _is_number(results.get("seconds")) else None,
        "command": readable(f"cleanse fit --config {shlex.quote(str(run.directory / 'config.yaml'))}"),
        "config": "\n".join(readable(line) for line in run.config.split("\n")),
    }


def _by_class(run: RunContent) -> Tensor:
    """(C, 3) int64: how many images of each given class are kept, relabelled and dropped."""
    counts = torch.zeros(len(run.classes), len(ACTIONS), dtype=torch.int64)
    known = (run.verdict.label >= 0) & (run.verdict.label < len(run.classes))
    index = (run.verdict.label[known], run.verdict.action[known].long())
    return counts.index_put(index, torch.ones(int(known.sum()), dtype=torch.int64), accumulate=True)


def _maps(run: RunContent, action: Tensor, salt: str) -> list[dict[str, str]]:
    features = run.features
    if features is None or len(features) < 3:
        return []
    rows = torch.arange(len(features))
    if len(rows) > MAPPED:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MAPPED].sort().values
    points = principal_plane(features[rows])
    part = f" A random {MAPPED:,} of the {len(features):,} images are shown." if len(rows) < len(features) else ""
    about = "Principal components of the embedding, one point per image"
    maps = [{
        "svg": scatter(points, action[rows], DONE, f"{salt}-map"),
        "alt": f"Scatter plot: {about[0].lower()}{about[1:]}, coloured by verdict.",
        "caption": f"{about}, by verdict.{part}",
    }]  # fmt: skip
    if run.role is not None and bool((run.role[rows] >= 0).any()):
        maps.append({
            "svg": scatter(points, run.role[rows], run.roles, f"{salt}-truth"),
            "alt": f"Scatter plot: {about[0].lower()}{about[1:]}, coloured by true role.",
            "caption": f"The same by true role (simulation).{part}",
        })  # fmt: skip
    return maps


def _picture(run: RunContent, i: int) -> dict[str, str]:
    verdict, names = run.verdict, [*run.classes, "no label"]
    old, new = names[int(verdict.label[i])], names[int(verdict.new_label[i])]
    what = {KEEP: "kept", RELABEL: "relabelled", DROP: "dropped"}[int(verdict.action[i])]
    role = f"{run.roles[int(run.role[i])]} in truth" if run.role is not None and run.role[i] >= 0 else ""
    return {
        "src": data_address(run.images[i]), "id": readable(verdict.id[i], 200), "old": readable(old, 60),
        "new": readable(new, 60) if what == "relabelled" else "", "what": what, "role": role,
        "reason": readable(verdict.reason[i], 120), "score": f"{float(verdict.score[i]):.3g}",
    }  # fmt: skip


def _medians(score: Tensor, group: Tensor, names: Sequence[str]) -> str:
    parts = [f"{name} {float(score[group == g].median()):.3g}" for g, name in enumerate(names) if (group == g).any()]
    return f"Median: {', '.join(parts)}."


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """Fractions in per cent; empty where one does not apply."""
    return {key: f"{100 * value:.1f}" if _is_number(value) else "" for key, value in row.items()}
