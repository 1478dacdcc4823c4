"""What processes ask of each other, in two real ones: how long they wait, and what they say when one is gone."""

import socket
import subprocess
import sys

TWO = """
import os, sys, time
from datetime import timedelta
import torch.distributed as dist
from cleanse.engine.distributed import barrier, from_rank_zero, lost_process_in_words

rank, what = int(sys.argv[1]), sys.argv[2]
os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=sys.argv[3])
dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=20))
barrier()  # both have started
dist.distributed_c10d._set_pg_timeout(timedelta(seconds=1), dist.group.WORLD)  # of every training

def download():
    time.sleep(3)
    if what == "dies":
        os._exit(9)
    return "the data"

try:
    with lost_process_in_words():
        print(from_rank_zero(download))
        if rank == 0:
            time.sleep(3)  # it writes a report
        barrier()
        print("and both go on")
except OSError as error:
    print(error)
os._exit(0)
"""


def run_two(what: str) -> list[str]:
    """What each of two processes printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-u", "-c", TWO]
    two = [
        subprocess.Popen([*command, str(rank), what, port], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    return [process.communicate(timeout=120)[0] for process in two]


def test_the_others_wait_for_rank_zero_longer_than_a_training_does() -> None:
    assert run_two("works") == ["the data\nand both go on\n"] * 2


def test_who_waits_for_a_process_that_has_died_ends_with_one_sentence() -> None:
    assert run_two("dies")[1] == (
        "another process of this run has ended or cannot be reached: all end, and the same command goes on from the "
        "last resume point\n"
    )
