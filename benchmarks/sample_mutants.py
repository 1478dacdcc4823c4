"""Draw some of mutmut's mutants at random, since all of them take a night; docs/mutation-testing.md.

make mutate NAMES="cleanse.metrics.relabel_accuracy*"  # makes them all, and finds out which tests reach which
make mutate NAMES="$(python benchmarks/sample_mutants.py 500 --seed 12)"
"""

import argparse
import json
import random
from pathlib import Path


def mutants(folder: Path) -> list[str]:
    """The names of all mutants that mutmut has made in a folder, in order."""
    files = folder.glob("cleanse/**/*.meta")
    return sorted(name for file in files for name in json.loads(file.read_text())["exit_code_by_key"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mutants", type=Path, default=Path("mutants"), help="mutmut's folder")
    arguments = parser.parse_args()
    found = mutants(arguments.mutants)
    if not 0 < arguments.count <= len(found):
        parser.error(f"count is between 1 and the {len(found)} mutants in {arguments.mutants}, not {arguments.count}")
    print(" ".join(random.Random(arguments.seed).sample(found, arguments.count)))
