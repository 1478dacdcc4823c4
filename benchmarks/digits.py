"""The README's tables on the digits: recipes against attacks over seeds, one line for each pair, mean and deviation.

Every run is the command that a user would type, so a second call only reads what is there, and one that was interrupted
goes on. Options after the attack's or the recipe's name belong to it.

    python benchmarks/digits.py --recipe knn --recipe energy --attack badnets --attack blend --attack wanet \\
        --attack "additive --data.attack.amplitude 0.0627451" --seeds 0 1 2
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

FIGURES = ("none_sa", "none_asr", "sa", "asr", "tmr", "tpr", "fpr", "relabel_accuracy", "oracle_sa")


def result(recipe: str, attack: str, seed: int, root: str) -> dict[str, Any]:
    """What one run found; its progress goes to standard error."""
    (recipe, *more), (attack, *options) = shlex.split(recipe), shlex.split(attack)
    configs = [f"{recipe}.yaml", "quick.yaml", *([] if attack in ("none", "own") else [f"attacks/{attack}.yaml"])]
    command = [sys.executable, "-m", "cleanse", "fit", *(word for c in configs for word in ("--config", c))]
    command += [*options, *more, "--seed_everything", str(seed), "--root", root]
    command += ["--data.attack=null"] if attack == "none" else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads((Path(done.stdout.splitlines()[-1]) / "results.json").read_text())
    return found


def cell(values: list[float | None]) -> str:
    known = [100 * v for v in values if v is not None]
    if not known:
        return "-"
    spread = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.mean(known):.1f} ± {spread:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", required=True, help="a config's name and its options")
    parser.add_argument(
        "--attack", action="append", required=True, help="the same; own for the recipe's, none for clean data"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--root", default="runs")
    asked = parser.parse_args()
    print("| attack | recipe | seeds |", " | ".join(FIGURES), "| seconds |")
    print("|---" * (len(FIGURES) + 4) + "|")
    for attack in asked.attack:
        for recipe in asked.recipe:
            runs = [result(recipe, attack, seed, asked.root) for seed in asked.seeds]
            cells = [cell([run.get(name) for run in runs]) for name in FIGURES]
            seconds = f"{min(r['seconds'] for r in runs):.0f} to {max(r['seconds'] for r in runs):.0f}"
            print(f"| {attack} | {recipe} | {len(runs)} |", " | ".join(cells), f"| {seconds} |", flush=True)


if __name__ == "__main__":
    main()
