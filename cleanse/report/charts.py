"""The charts of a run, with what they show in words."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cleanse.report.content import RunContent, threshold
from cleanse.report.figures import (
    COLORS,
    Chart,
    histogram,
    outlined_scatter,
    place,
    principal_plane,
    scatter,
    stacked_bars,
)
from cleanse.report.most_suspicious import judged_counts, judged_rows
from cleanse.utils.text import readable
from cleanse.verdict import ACTIONS

MAPPED = 3000
"""Points on a map at most; more only make the page heavy."""
BARS = 40
"""Bars in the chart of classes at most; the table has all."""
DONE = ("kept", "relabeled", "dropped")


@dataclass(frozen=True)
class Drawn:
    """A chart in a picture and in words.

    Attributes:
        chart: drawn.
        alt: what is seen on it.
        caption: what it is.
    """

    chart: Chart
    alt: str
    caption: str


def charts(run: RunContent, only: Collection[str] = ("classes", "score", "role", "map", "truth")) -> dict[str, Drawn]:
    """By name; one that the run has nothing for is left out."""
    makers = (("classes", _classes), ("score", _score), ("role", _role), ("map", _map), ("truth", _truth))
    return {name: drawn for name, make in makers if name in only and (drawn := make(run)) is not None}


def by_class(run: RunContent) -> Tensor:
    """(C, 3) int64: how many images of each given class are kept, relabeled and dropped; files that could not be read
    are of none."""
    counts = torch.zeros(len(run.classes), len(ACTIONS), dtype=torch.int64)
    known = (run.verdict.label >= 0) & (run.verdict.label < len(run.classes))
    judged = torch.zeros_like(known)
    judged[judged_rows(run.verdict)] = True
    known &= judged
    index = (run.verdict.label[known], run.verdict.action[known].long())
    return counts.index_put(index, torch.ones(int(known.sum()), dtype=torch.int64), accumulate=True)


def _classes(run: RunContent) -> Drawn | None:
    counts = by_class(run)
    bars = counts[:, 1:].sum(1).argsort(descending=True, stable=True)[:BARS].sort().values
    if not len(bars):
        return None
    totals = ", ".join(f"{n:,} {name}" for name, n in judged_counts(run.verdict).items())
    return Drawn(
        stacked_bars(counts[bars], [run.classes[c] for c in bars.tolist()], DONE),
        f"Bar chart of the verdict for each class; in total {totals}. The table has the numbers.",
        "Images of each given class by what the verdict does with them"
        + (f"; the {BARS} classes with most relabeled or dropped." if len(bars) < len(counts) else "."),
    )


def _score(run: RunContent) -> Drawn | None:
    if not len(run.verdict):
        return None
    action, limit = run.verdict.action.long(), threshold(run.verdict)
    medians = _medians(run.verdict.score, action, DONE)
    parts = len(torch.unique(action)) > 1
    line = f" Above {limit:.3g}, images are relabeled or dropped." if limit is not None else ""
    none = " The verdict is not a threshold on this score." if limit is None and parts else ""
    return Drawn(
        histogram(run.verdict.score, action, DONE, limit),
        f"Histogram of the score. {medians}{line}",
        f"Score by what the verdict does. {medians}{line}{none}",
    )


def _role(run: RunContent) -> Drawn | None:
    if run.role is None or not (known := run.role >= 0).any():
        return None
    score, role = run.verdict.score[known], run.role[known]
    medians = _medians(score, role, run.roles)
    return Drawn(
        histogram(score, role, run.roles, threshold(run.verdict)),
        f"Histogram of the score by true role. {medians}",
        f"Score by true role (simulation). {medians}",
    )


def _map(run: RunContent) -> Drawn | None:
    """Colored by class, with the verdict as outline."""
    if (shown := _on_the_map(run)) is None:
        return None
    points, rows, part = shown
    label, flagged = run.verdict.label[rows], ~run.verdict.kept[rows]
    counts = by_class(run)
    busiest = counts[:, 1:].sum(1).argsort(descending=True, stable=True)[: len(COLORS) - 1].sort().values.tolist()
    names = ["other classes" if len(run.classes) > len(busiest) else "no label", *(run.classes[c] for c in busiest)]
    if len(run.classes) <= len(COLORS) and bool((label >= 0).all()):  # each has a color, gray too
        busiest, names = [-1, *range(1, len(run.classes))], list(run.classes)
    group = torch.zeros(len(rows), dtype=torch.int64)
    for g, c in enumerate(busiest, 0 if busiest[:1] == [-1] else 1):
        group[label == c] = g
    about = "Principal components of the embedding, one point per image, colored by class; an outline is around images "
    about += "that are relabeled or dropped."
    where = _places(points, group, names)
    return Drawn(
        outlined_scatter(points, group, names, flagged, "flagged"),
        f"Scatter plot. {about} {int(flagged.sum()):,} are outlined. {where}",
        about + part,
    )


def _truth(run: RunContent) -> Drawn | None:
    return None if run.role is None else _mapped(run, run.role, run.roles, "by true role (simulation)")


def _mapped(run: RunContent, group: Tensor, names: Sequence[str], what: str) -> Drawn | None:
    if (shown := _on_the_map(run)) is None:
        return None
    points, rows, part = shown
    if not (group[rows] >= 0).any():
        return None
    about = f"Principal components of the embedding, one point per image, {what}."
    return Drawn(
        scatter(points, group[rows], names),
        f"Scatter plot. {about} {_places(points, group[rows], names)}",
        about + part,
    )


def _on_the_map(run: RunContent) -> tuple[Tensor, Tensor, str] | None:
    """(p, 2) points, their rows of the verdict, and a sentence if they are a part of all."""
    features = run.features
    if features is None or len(features) < 3:
        return None
    rows = torch.arange(len(features))
    if len(rows) > MAPPED:
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:MAPPED].sort().values
    part = f" A random {MAPPED:,} of the {len(features):,} images are shown." if len(rows) < len(features) else ""
    return principal_plane(features[rows]), rows, part


def _places(points: Tensor, group: Tensor, names: Sequence[str]) -> str:
    """Where the middle of each group is, in words."""
    low, high = points.amin(0), points.amax(0)
    unit = (points - low) / (high - low).clamp_min(1e-12)
    parts = []
    for g, name in enumerate(names):
        if (own := group == g).any():
            x, y = unit[own].median(0).values.tolist()
            parts.append(f"{int(own.sum()):,} {readable(name, 60)}, centered at the {place(x, 1 - y)}")
    return f"Shown are {'; '.join(parts)}."


def _medians(score: Tensor, group: Tensor, names: Sequence[str]) -> str:
    parts = [f"{name} {float(score[group == g].median()):.3g}" for g, name in enumerate(names) if (group == g).any()]
    return f"Median: {', '.join(parts)}."
