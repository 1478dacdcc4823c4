"""Memory of a training is kept while it runs, and given back afterwards."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from cleanse.engine.memory import memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.empty(16 * 2**20).zero_()  # 64 MB, 16384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
with memory_kept():
    faults()
    inside = faults()
print(before, inside, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has these settings")
def test_large_blocks_are_kept_inside_the_block_alone() -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    said = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    before, inside, after = map(int, said.stdout.split())
    if before < 10 * 16384:
        pytest.skip("this kernel or this malloc does otherwise")
    assert inside < 1000
    assert after >= 16384  # some pages may still be there
