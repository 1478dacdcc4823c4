"""The precision that a machine computes in faster, chosen once for all that a root holds."""

import json
import logging
import platform
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from cleanse.utils.files import atomic_write_text, read_small
from cleanse.utils.lock import Lock

log = logging.getLogger("cleanse")

BFLOAT16, FLOAT32 = "bf16-mixed", "32-true"
WORTH = 1.2
"""How many times faster bfloat16 must be."""


def best_precision(accelerator: object, root: str | Path | None = None) -> str:
    """``bf16-mixed`` where the device computes in it faster, otherwise ``32-true``.

    Args:
        accelerator: as the Trainer's.
        root: of the runs. The choice is kept there, one for each kind of device: precision is part of every stage's
            key, and a resumed run must not choose anew, on a machine that is busy or another one. None to forget it.
    """
    kind = _kind(accelerator)
    if root is None:
        return _choose(kind)
    root = Path(root)
    if (known := _recorded(root).get(kind)) is not None:
        return known
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = Lock(root / ".precision.lock")
        while not lock.acquire(60.0):  # by another process of this very run, for a second
            pass
    except OSError:  # nothing can be written there, so nothing will be resumed
        return _choose(kind)
    try:
        recorded = _recorded(root)
        if kind not in recorded:
            recorded[kind] = _choose(kind)
            atomic_write_text(root / ".precision.json", json.dumps(recorded) + "\n")
        return recorded[kind]
    finally:
        lock.release()


def bfloat16_speed(seconds: float = 0.4, rounds: int = 10) -> float:
    """How many times faster than float32 a convolution trains in bfloat16 on this machine's CPU; by measurement.

    Processor time on one thread: a busy machine gives the same answer.

    Args:
        seconds: to measure for, at least.
        rounds: to measure, at least.
    """
    with torch.random.fork_rng(devices=[]):
        layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    image = torch.full((32, 64, 16, 16), 0.5).to(memory_format=torch.channels_last)

    def once(bfloat16: bool) -> float:
        begun = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            out = layer(image)
        out.float().sum().backward()
        return time.process_time() - begun

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        once(False)
        once(True)  # (the first call prepares)
        times, end = [(once(False), once(True))], time.process_time() + seconds
        while len(times) < rounds or time.process_time() < end:
            times.append((once(False), once(True)))
    finally:
        torch.set_num_threads(threads)
    return min(plain for plain, _ in times) / min(fast for _, fast in times)


def _kind(accelerator: object) -> str:
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        return "cpu"
    return str(accelerator)


def _choose(kind: str) -> str:
    if kind == "cuda":
        return BFLOAT16 if torch.cuda.is_bf16_supported(including_emulation=False) else FLOAT32
    if kind != "cpu" or not _has_bfloat16():
        return FLOAT32
    speed = bfloat16_speed()
    chosen = BFLOAT16 if speed >= WORTH else FLOAT32
    log.info("precision %s: bfloat16 is %.1f times as fast as float32 on this CPU", chosen, speed)
    return chosen


def _has_bfloat16() -> bool:
    """Whether the CPU has instructions for it (AMX, AVX512_BF16, ARM's); emulated, it is several times slower."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks) or platform.machine() in ("aarch64", "arm64")


def _recorded(root: Path) -> dict[str, str]:
    """What was chosen in this root before; nothing if the record is damaged."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        found = json.loads(read_small(root / ".precision.json", 10_000))
        return {kind: value for kind, value in found.items() if value in (BFLOAT16, FLOAT32)}
    return {}
