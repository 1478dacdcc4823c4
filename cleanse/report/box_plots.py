"""Two panels of horizontal boxes: what a change of the images does to SA and to ASR."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

from cleanse.report.figures import COLORS, MARKERS
from cleanse.utils.text import readable

Points = Mapping[str, Sequence[float]]
"""The values of one box, by the name of their group."""

_STYLE: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "box_plots", "text.parse_math": False, "font.size": 9}


def box_plots(panels: Mapping[str, Mapping[str, Points]], groups: Sequence[str]) -> dict[str, bytes]:
    """One box for each row in every panel, and its values as points; the panels share their rows.

    A box goes from quartile to quartile, with a line at the median and whiskers to the farthest values within 1.5 box
    lengths. A dotted line in every panel goes on from the median of the first row.

    Args:
        panels: title to rows, name of a row to its values; fractions, drawn in per cent, from the top row down.
        groups: names of the groups of values, each with its color and marker.

    Returns:
        the picture as ``png`` and ``svg``; the same values give the same bytes.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = list(next(iter(panels.values())))
    files = {}
    with rc_context(_STYLE):
        figure = Figure(figsize=(9, 1.3 + 0.27 * len(rows)), layout="constrained", facecolor="white")
        for axes, (title, boxes) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
            values = [[100 * v for own in boxes[row].values() for v in own] for row in rows]
            drawn = axes.boxplot(
                values, orientation="horizontal", positions=range(len(rows)), widths=0.66, showfliers=False,
                patch_artist=True, medianprops={"color": "black", "linewidth": 1.6},
                boxprops={"facecolor": "#e7eaee", "edgecolor": "#7b838d"},
                whiskerprops={"color": "#7b838d"}, capprops={"color": "#7b838d"},
            )  # fmt: skip
            axes.axvline(drawn["medians"][0].get_xdata()[0], color="#7b838d", linestyle=":", linewidth=1, zorder=0)
            for g, name in enumerate(groups):
                step = 0.44 * (g / max(1, len(groups) - 1) - 0.5) if len(groups) > 1 else 0.0
                points = [(100 * v, i + step) for i, row in enumerate(rows) for v in boxes[row].get(name, ())]
                axes.scatter(
                    [x for x, _ in points], [y for _, y in points], s=11, zorder=3, linewidths=0, alpha=0.75,
                    color=COLORS[1 + g % (len(COLORS) - 1)], marker=MARKERS[g % len(MARKERS)], label=readable(name, 40),
                )  # fmt: skip
            axes.set_title(title, fontsize=10)
            axes.set_xlim(-3, 103)
            axes.set_xlabel("%")
            axes.grid(axis="x", color="#e7eaee")
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
        axes.set_yticks(range(len(rows)), [readable(row, 34) for row in rows])
        axes.invert_yaxis()
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(groups)), frameon=False)
        for kind, options in (("png", {"dpi": 150}), ("svg", {"metadata": {"Date": None}})):
            file = io.BytesIO()
            figure.savefig(file, format=kind, **options)
            files[kind] = file.getvalue()
    return files
