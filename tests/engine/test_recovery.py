"""kill -9 at any moment, run again: the same bits as an undisturbed run, and nothing is left lying about."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cleanse.verdict import Verdict

KILLS = 24
SCRIPT = """
import os, random, signal, sys
import torch
torch.set_num_threads(1)
import cleanse.cli.fit
from cleanse.cli.main import main

wanted = int(sys.argv[1])
fit = [
    "fit", "--config", "knn.yaml", "--config", "quick.yaml", "--data.limit_train", "120", "--data.limit_test", "50",
    "--model.pretrain_epochs", "4", "--model.pretrain_batch_size", "40", "--model.epochs", "4",
    "--model.probe_epochs", "4", "--compare", "[]", "--threads", "1",
]


def attempt(root, last):
    '''One command, in a process that kills itself before its change number `last` to the disk.'''
    child = os.fork()
    if not child:
        seen = 0

        def count(event, arguments):
            nonlocal seen
            if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.symlink", "os.link"):
                path, flags = arguments[0], arguments[2] if event == "open" else os.O_RDWR
                writes = not isinstance(path, int) and flags & (os.O_WRONLY | os.O_RDWR)
                if writes and root in os.path.abspath(os.fsdecode(path)):
                    seen += 1
                    if seen == last:
                        os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        sys.stdout = open(root + ".out", "w")
        main([*fit, "--root", root])
        sys.stdout.flush()
        os._exit(0)
    return os.waitpid(child, 0)[1]


assert attempt(os.path.abspath("whole"), 0) == 0
chance, kills, runs = random.Random(0), 0, 0
while True:
    status = attempt(os.path.abspath("killed"), chance.randint(1, 14) if kills < wanted else 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        kills += 1
    else:
        assert status == 0, status
        break
print(kills)
"""


@pytest.mark.slow
def test_killed_at_twenty_moments_and_still_the_same_bits(tmp_path: Path) -> None:
    """Each time before another change to the disk: a file, a rename, a folder, a link."""
    environment = {**os.environ, "CLEANSE_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(KILLS)], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 20, done.stderr
    runs = []
    for root in ("killed", "whole"):
        (run,) = (p.parent for p in (tmp_path / root).glob("*/results.json"))
        runs.append(run)
    killed, whole = runs
    assert killed.name == whole.name
    weights, expected = (torch.load(run / "model.ckpt", weights_only=True)["state_dict"] for run in runs)
    assert weights.keys() == expected.keys()
    for name, value in weights.items():
        assert torch.equal(value, expected[name]), name
    verdict, undisturbed = Verdict.load(killed), Verdict.load(whole)
    assert verdict.hash() == undisturbed.hash()
    assert torch.equal(verdict.score, undisturbed.score)
    stages = [sorted(p.name for p in (tmp_path / root).iterdir()) for root in ("killed", "whole")]
    assert stages[0] == stages[1]
