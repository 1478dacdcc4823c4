"""Which figures of a run are about its verdict, and which runs have none."""

from collections.abc import Mapping
from typing import Any

OF_A_VERDICT = ("tpr", "fpr", "auroc", "cover_flagged", "fpr_clean", "flagged")
KEEP_EVERYTHING = ("none", "supcon")
"""Recipes that keep every image by design: 0 % found and 0 % of false alarms are no result of theirs."""


def without_detection(recipe: object, figures: Mapping[str, Any], instead: Any) -> dict[str, Any]:
    """The figures of a run or of several, without those of a verdict where the recipe makes none.

    Args:
        recipe: its name.
        figures: by their names.
        instead: the value of a figure that is none.

    >>> without_detection("none", {"sa": 0.9, "fpr": 0.0}, None), without_detection("knn", {"fpr": 0.0}, None)
    ({'sa': 0.9, 'fpr': None}, {'fpr': 0.0})
    """
    hidden = OF_A_VERDICT if recipe in KEEP_EVERYTHING else ()
    return {name: instead if name.rstrip("_0123456789") in hidden else value for name, value in figures.items()}
