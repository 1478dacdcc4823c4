"""The charts of a run, with what they show in words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cleanse.report.content import RunContent, threshold
from cleanse.report.figures import Chart, histogram, place, principal_plane, scatter, stacked_bars
from cleanse.verdict import ACTIONS

MAPPED = 3000
"""Points on a map at most; more only make the page heavy."""
BARS = 40
"""Bars in the chart of classes at most; the table has all."""
DONE = ("kept", "relabeled", "dropped")


@dataclass(frozen=True)
class Described:
    """A chart in a picture and in words.

    Attributes:
        chart: drawn.
        alt: what is seen on it.
        caption: what it is.
    """

    chart: Chart
    alt: str
    caption: str


def charts(
    run: RunContent, only: Collection[str] = ("classes", "score", "role", "map", "truth")
) -> dict[str, Described]:
    """By name; one that the run has nothing for is left out."""
    makers = (("classes", _classes), ("score", _score), ("role", _role), ("map", _map), ("truth", _truth))
    return {name: drawn for name, make in makers if name in only and (drawn := make(run)) is not None}


def by_class(run: RunContent) -> Tensor:
    """(C, 3) int64: how many images of each given class are kept, relabeled and dropped."""
    counts = torch.zeros(len(run.classes), len(ACTIONS), dtype=torch.int64)
    known = (run.verdict.label >= 0) & (run.verdict.label < len(run.classes))
    index = (run.verdict.label[known], run.verdict.action[known].long())
    return counts.index_put(index, torch.ones(int(known.sum()), dtype=torch.int64), accumulate=True)


def _classes(run: RunContent) -> Described | None:
    counts = by_class(run)
    bars = counts[:, 1:].sum(1).argsort(descending=True, stable=True)[:BARS].sort().values
    if not len(bars):
        return None
    totals = ", ".join(f"{n:,} {name}" for name, n in run.verdict.counts().items())
    return Described(
        stacked_bars(counts[bars], [run.classes[c] for c in bars.tolist()], DONE),
        f"Bar chart of the verdict for each class; in total {totals}. The table has the numbers.",
        "Images of each given class by what the verdict does with them"
        + (f"; the {BARS} classes with most relabeled or dropped." if len(bars) < len(counts) else "."),
    )


def _score(run: RunContent) -> Described | None:
    if not len(run.verdict):
        return None
    action, limit = run.verdict.action.long(), threshold(run.verdict)
    medians = _medians(run.verdict.score, action, DONE)
    parts = len(torch.unique(action)) > 1
    line = f" Above {limit:.3g}, images are relabeled or dropped." if limit is not None else ""
    none = " The verdict is not a threshold on this score." if limit is None and parts else ""
    return Described(
        histogram(run.verdict.score, action, DONE, limit),
        f"Histogram of the score. {medians}{line}",
        f"Score by what the verdict does. {medians}{line}{none}",
    )


def _role(run: RunContent) -> Described | None:
    if run.role is None or not (known := run.role >= 0).any():
        return None
    score, role = run.verdict.score[known], run.role[known]
    medians = _medians(score, role, run.roles)
    return Described(
        histogram(score, role, run.roles, threshold(run.verdict)),
        f"Histogram of the score by true role. {medians}",
        f"Score by true role (simulation). {medians}",
    )


def _map(run: RunContent) -> Described | None:
    return _mapped(run, run.verdict.action.long(), DONE, "by verdict")


def _truth(run: RunContent) -> Described | None:
    return None if run.role is None else _mapped(run, run.role, run.roles, "by true role (simulation)")


def _mapped(run: RunContent, group: Tensor, names: Sequence[str], what: str) -> Described | None:
    features = run.features
    if features is None or len(features) < 3:
        return None
    rows = torch.arange(len(features))
    if len(rows) > MAPPED:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MAPPED].sort().values
    group = group[rows]
    if not (group >= 0).any():
        return None
    points = principal_plane(features[rows])
    part = f" A random {MAPPED:,} of the {len(features):,} images are shown." if len(rows) < len(features) else ""
    about = f"Principal components of the embedding, one point per image, {what}."
    low, high = points.amin(0), points.amax(0)
    unit = (points - low) / (high - low).clamp_min(1e-12)
    parts = []
    for g, name in enumerate(names):
        if (own := group == g).any():
            x, y = unit[own].median(0).values.tolist()
            parts.append(f"{int(own.sum()):,} {name}, centerd at the {place(x, 1 - y)}")
    return Described(
        scatter(points, group, names), f"Scatter plot. {about} Shown are {'; '.join(parts)}.", about + part
    )  # fmt: skip


def _medians(score: Tensor, group: Tensor, names: Sequence[str]) -> str:
    parts = [f"{name} {float(score[group == g].median()):.3g}" for g, name in enumerate(names) if (group == g).any()]
    return f"Median: {', '.join(parts)}."
