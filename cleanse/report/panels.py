"""What the page shows, as tables and pictures for a logger such as W&B."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cleanse.report.by_trigger import by_trigger
from cleanse.report.charts import DONE, by_class, charts
from cleanse.report.content import RunContent, gallery_rows
from cleanse.report.figures import enlarged, heat, signed
from cleanse.utils.text import readable
from cleanse.verdict import ACTIONS

LISTED = 1000
"""Rows of the verdict's table at most, the most suspicious first."""
PICTURED = 32
"""Images in a gallery at most."""


@dataclass(frozen=True)
class Panels:
    """Tables and pictures by name.

    Attributes:
        tables: columns and rows; a tensor in a cell is a (C, H, W) uint8 picture, None an empty cell.
        pictures: (C, H, W) uint8 with a caption each.
    """

    tables: Mapping[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = field(default_factory=dict)
    pictures: Mapping[str, Sequence[tuple[Tensor, str]]] = field(default_factory=dict)


def panels(run: RunContent) -> Panels:
    """The page's charts, galleries and tables."""
    pictures = {name: [(drawn.chart.pixels(), drawn.caption)] for name, drawn in charts(run).items()}
    pictures |= {
        name: shown
        for name, rows in gallery_rows(run.verdict, PICTURED).items()
        if (shown := [(enlarged(run.images[i]), _caption(run, i)) for i in rows if i in run.images])
    }
    if run.near:
        strips = {i: [i, *near] for i, near in run.near.items() if {i, *near} <= set(run.images)}
        pictures["neighbors"] = [
            (_strip([enlarged(run.images[j]) for j in row]), _near(run, row)) for row in strips.values()
        ]
    if run.pattern is not None:
        pictures["pattern"] = [(enlarged(signed(run.pattern.difference), 128), run.pattern.words or "mean difference")]
    if run.attention:
        pictures["saliency"] = [
            (
                _strip([heat(a.image, torch.zeros(a.changed.shape)), *(heat(a.image, x.saliency) for x in a.looks)]),
                f"truly {_name(run, a.label)}; " + "; ".join(f"{x.model}: {_name(run, x.predicted)}" for x in a.looks),
            )
            for a in run.attention
        ]
    counts = by_class(run).tolist()
    classes = [[_name(run, c), *row] for c, row in enumerate(counts)]
    tables: dict[str, tuple[Sequence[str], Sequence[Sequence[Any]]]] = {
        "verdict": _verdict(run),
        "classes": (("class", *DONE), classes),
    }
    if rows := by_trigger(run.results):
        headings = list(dict.fromkeys(heading for row in rows for heading in row))
        tables["triggers"] = headings, [[row.get(heading, "") for heading in headings] for row in rows]
    return Panels(tables, pictures)


def _verdict(run: RunContent) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
    """The most suspicious rows; of equal scores those first that the gallery shows, with their picture."""
    v = run.verdict
    unseen = torch.ones(len(v), dtype=torch.bool)
    unseen[gallery_rows(v, PICTURED)["suspicious"]] = False
    first = torch.sort(unseen.to(torch.uint8), stable=True).indices
    order = first[torch.sort(v.score[first], descending=True, stable=True).indices][:LISTED].tolist()
    columns = ["image", "id", "label", "verdict", "new label", "score", "reason"]
    rows: list[list[Any]] = [
        [
            None if i not in run.images else enlarged(run.images[i]),
            readable(v.id[i], 200), _name(run, int(v.label[i])), ACTIONS[int(v.action[i])],
            _name(run, int(v.new_label[i])), float(v.score[i]), readable(v.reason[i], 200),
        ]
        for i in order
    ]  # fmt: skip
    if run.role is not None:
        columns.append("role")
        for i, row in zip(order, rows, strict=True):
            row.append(run.roles[int(run.role[i])] if run.role[i] >= 0 else None)
    return columns, rows


def _name(run: RunContent, label: int) -> str:
    return readable(run.classes[label], 60) if label >= 0 else ""


def _caption(run: RunContent, i: int) -> str:
    v = run.verdict
    new = f" \u2192 {_name(run, int(v.new_label[i]))}" if v.relabeled[i] else ""
    return f"{_name(run, int(v.label[i]))}{new}, {ACTIONS[int(v.action[i])]}, {float(v.score[i]):.3g}"


def _near(run: RunContent, row: Sequence[int]) -> str:
    first, *others = (_name(run, int(run.verdict.label[i])) or "no label" for i in row)
    return f"{first}; nearest: {', '.join(others)}"


def _strip(images: Sequence[Tensor]) -> Tensor:
    """Pictures of one height side by side, each (C, H, W) uint8, with a white line between."""
    line = torch.full((images[0].shape[0], images[0].shape[1], 1), 255, dtype=torch.uint8)
    parts = [part for image in images for part in (image, line)][:-1]
    return torch.cat(parts, dim=2)
