"""SA against ASR, one small chart for each attack and data set."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cleanse.report.charts import Drawn
from cleanse.report.figures import COLORS, INK, Chart
from cleanse.utils.text import readable

MOST = 24
"""Small charts at most; the table has all."""
MARKS = "o^Xs*DPvh<>p"


def small_multiples(rows: Sequence[Mapping[str, Any]]) -> Drawn | None:
    """A point for each recipe, its bars one standard deviation over seeds; None if no row has both figures.

    Args:
        rows: of a leaderboard.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    there = [row for row in rows if row["sa"][2] and row["asr"][2]]
    panels: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in there:
        rate = "" if row["rate"] is None or math.isnan(row["rate"]) else f"{100 * row['rate']:g} %"
        panels.setdefault((row["attack"], row["data"], rate), []).append(row)
    if not panels:
        return None
    names = list(dict.fromkeys(f"{row['recipe']} {row['change']}".strip() for row in there))
    shown = dict(list(panels.items())[:MOST])
    across = min(3, len(shown))
    down = math.ceil(len(shown) / across)
    style: dict[Any, Any] = {
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "xtick.color": INK,
    }
    with rc_context({**style, "ytick.color": INK, "text.parse_math": False}):
        columns = max(1, 3 * across // 2)  # of the legend, which is no wider than the charts
        height = 2.6 * down + 0.3 + 0.2 * math.ceil(len(names) / columns)
        figure = Figure(figsize=(3.0 * across, height), layout="constrained")
        grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        known: dict[str, Any] = {}
        for axes, (key, own) in zip(grid.flat, shown.items(), strict=False):
            axes.set_title(readable(" ".join(str(part) for part in key if part), 40), fontsize=9)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set(xlim=(-4, 104), ylim=(-4, 104), xlabel="ASR %", ylabel="SA %")
            for row in own:
                name = f"{row['recipe']} {row['change']}".strip()
                i = names.index(name)
                x, y = (100 * row[k][0] for k in ("asr", "sa"))
                dx, dy = (0.0 if math.isnan(row[k][1]) else 100 * row[k][1] for k in ("asr", "sa"))
                known[name] = axes.errorbar(
                    x, y, xerr=dx, yerr=dy, fmt=MARKS[i % len(MARKS)], color=COLORS[i % len(COLORS)], markersize=5,
                    elinewidth=1,
                )  # fmt: skip
        figure.legend(
            list(known.values()),
            [readable(n, 30) for n in known],
            loc="outside lower center",
            ncols=columns,
            frameon=False,
        )
    words = "; ".join(
        f"{readable(' '.join(str(p) for p in key if p))}: "
        + ", ".join(
            f"{readable(row['recipe'])} SA {100 * row['sa'][0]:.1f}, ASR {100 * row['asr'][0]:.1f}" for row in own
        )
        for key, own in shown.items()
    )
    left_out = f" The first {MOST} of {len(panels)} are shown." if len(panels) > MOST else ""
    return Drawn(
        Chart(figure), f"Scatter plots of SA against ASR, in per cent. {words}.",
        "SA against ASR, in per cent: means over seeds, bars one standard deviation; the best place is the upper left."
        + left_out,
    )  # fmt: skip
