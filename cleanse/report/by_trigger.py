"""What an attack with several triggers did, one row for each."""

from collections.abc import Mapping
from typing import Any

from cleanse.utils.text import readable


def by_trigger(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Of a run with several triggers: for each what it is, and its figures in per cent as far as they are known.

    >>> by_trigger({"trigger_1": "BadNets (not of class 0 -> 0)", "asr_1": 0.5, "none_asr_1": 1.0, "tpr_1": None})
    [{'trigger': 'Trigger 1, BadNets (not of class 0 -> 0)', 'ASR': '50.0 %', 'no defense ASR': '100.0 %'}]
    """
    shown = {"asr": "ASR", "none_asr": "no defense ASR", "ra": "RA", "tmr": "TMR", "tpr": "TPR"}
    rows = []
    number = 1
    while f"trigger_{number}" in results:
        words = readable(str(results[f"trigger_{number}"]), 200)
        cells = {heading: results.get(f"{key}_{number}") for key, heading in shown.items()}
        known = {heading: f"{100 * float(v):.1f} %" for heading, v in cells.items() if isinstance(v, (int, float))}
        rows.append({"trigger": f"Trigger {number}, {words}", **known})
        number += 1
    return rows
