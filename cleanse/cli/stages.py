"""``cleanse stages``: what the stages under a root take, and the removal of those that no run needs."""

import re
import sys
import time
from collections.abc import Sequence

from cleanse.cli.parsers import stages_parser
from cleanse.engine.progress import quiet
from cleanse.engine.stage_store import StoredStage, prune, removable, stored_stages
from cleanse.experiments.messages import UsageError

UNITS = {"m": 60, "h": 3600, "d": 86400}


def stages(argv: Sequence[str]) -> None:
    """Run the command.

    Args:
        argv: what follows ``cleanse stages``.

    Raises:
        UsageError: wrong arguments.
        ValueError: no such root.
    """
    arguments = stages_parser().parse_args(list(argv))
    quiet()
    if arguments.prune:
        removed = prune(arguments.root, _seconds(arguments.older or "1d"))
        sys.stdout.write(f"{_listing(removed)}removed {_total(removed)}\n")
        return
    older = _seconds(arguments.older or "0d")
    found = stored_stages(arguments.root)
    if arguments.unused:
        found = removable(found, older)
    found = [stage for stage in found if time.time() - stage.changed >= older]
    sys.stdout.write(f"{_listing(found)}{_total(found)}\n")


def _listing(found: Sequence[StoredStage]) -> str:
    lines = [f"{'MB':>10}  {'days':>6}  {'seconds':>9}  {'runs':>4}  stage"] if found else []
    for stage in found:
        took = "stopped" if stage.seconds is None else f"{stage.seconds:.1f}"
        days = (time.time() - stage.changed) / UNITS["d"]
        lines.append(f"{stage.size / 2**20:>10.2f}  {days:>6.1f}  {took:>9}  {len(stage.runs):>4}  {stage.path.name}")
    return "".join(f"{line}\n" for line in lines)


def _total(found: Sequence[StoredStage]) -> str:
    return f"{len(found)} stages, {sum(stage.size for stage in found) / 2**20:.2f} MB"


def _seconds(age: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", age)
    if found is None:
        raise UsageError(f"--older is {age!r}: write it as 30d, 12h or 90m")
    return float(found[1]) * UNITS[found[2]]
