"""A sample of mutants is the same for a seed, and only of those that there are."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "sample_mutants.py"


def drawn(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(SCRIPT), *words, "--mutants", str(folder)]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_seed_decides_the_sample(tmp_path: Path) -> None:
    (tmp_path / "cleanse" / "metrics").mkdir(parents=True)
    for file in ("b", "a"):
        keys = {f"cleanse.metrics.{file}__mutmut_{i}": None for i in range(20)}
        (tmp_path / "cleanse" / "metrics" / f"{file}.py.meta").write_text(json.dumps({"exit_code_by_key": keys}))
    first, again, other = (drawn(tmp_path, "9", "--seed", seed).stdout.split() for seed in ("1", "1", "2"))
    assert first == again != other
    assert len(set(first)) == 9
    assert {name.split("__")[0] for name in first} == {"cleanse.metrics.a", "cleanse.metrics.b"}


def test_more_than_there_are_is_a_sentence(tmp_path: Path) -> None:
    done = drawn(tmp_path, "3")
    assert done.returncode == 2
    assert "count is between 1 and the 0 mutants" in done.stderr
