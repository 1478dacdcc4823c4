"""The table that a command ends with."""

from collections.abc import Mapping, Sequence

COLUMNS = ("sa", "asr", "asr_max", "ra", "tmr", "tpr", "fpr", "auroc")


def results_table(rows: Mapping[str, Mapping[str, object]], columns: Sequence[str] = COLUMNS) -> str:
    """One line per recipe, figures in per cent, a dash where one does not apply; empty where none does.

    Args:
        rows: name to figures (fractions).
        columns: which figures, in order; one that no row has is left out.

    >>> print(results_table({"none": {"sa": 0.5, "asr": None}}, ["sa", "asr"]))
             SA
    none  50.0
    """
    shown = [c for c in columns if any(isinstance(r.get(c), float) for r in rows.values())]
    if not shown:
        return ""
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(_cell(c, c.upper()) for c in shown)]
    for name, figures in rows.items():
        lines.append(f"{name:<{width}}" + "".join(_cell(c, _per_cent(figures.get(c))) for c in shown))
    return "\n".join(lines)


def _cell(column: str, text: str) -> str:
    return text.rjust(max(7, len(column) + 2))


def _per_cent(value: object) -> str:
    return f"{100 * value:.1f}" if isinstance(value, float) else "-"
