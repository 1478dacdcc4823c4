"""The precision that a machine computes in faster, chosen once for all that a root holds."""

import json
import logging
import os
import platform
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from cleanse.utils.files import atomic_write_text, read_small

log = logging.getLogger("cleanse")

BFLOAT16, FLOAT32 = "bf16-mixed", "32-true"
WORTH = 1.2
"""How many times faster bfloat16 must be."""


_chosen: dict[tuple[Path, str], str] = {}
"""What this process has chosen, by root and kind of device, until `keep_precision` writes it down."""


def best_precision(accelerator: object, root: str | Path | None = None) -> str:
    """``bf16-mixed`` where the device computes in it faster, otherwise ``32-true``.

    Args:
        accelerator: as the Trainer's.
        root: of the runs, where an earlier choice for this kind of device is read back: precision is part of every
            stage's key, and a resumed run must not choose anew, on a machine that is busy or another one. Nothing is
            written here (`keep_precision` does, once there is a stage). None to forget the choice.
    """
    kind = _kind(accelerator)
    if root is None:
        return _choose(kind)
    root = Path(root).absolute()
    chosen = _chosen.get((root, kind)) or _recorded(root).get(kind) or _choose(kind)
    _chosen[root, kind] = chosen
    return chosen


def keep_precision(root: Path) -> None:
    """Write down what was chosen for this root, beside what is written there already."""
    root, recorded = root.absolute(), _recorded(root)
    fresh = {kind: value for (of, kind), value in _chosen.items() if of == root and kind not in recorded}
    if fresh:
        atomic_write_text(root / ".precision.json", json.dumps(recorded | fresh) + "\n")


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
    if max(int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "SLURM_NTASKS")) > 1:
        return BFLOAT16 if _is_x86_with_bfloat16() else FLOAT32  # processes that cannot ask each other yet must agree
    speed = bfloat16_speed()
    chosen = BFLOAT16 if speed >= WORTH else FLOAT32
    log.info("precision %s: bfloat16 is %.1f times as fast as float32 on this CPU", chosen, speed)
    return chosen


def _is_x86_with_bfloat16() -> bool:
    """AMX or AVX512_BF16."""
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)


def _has_bfloat16() -> bool:
    """Whether the CPU may have instructions for it; emulated, it is several times slower."""
    return _is_x86_with_bfloat16() or platform.machine() in ("aarch64", "arm64")


def _recorded(root: Path) -> dict[str, str]:
    """What was chosen in this root before; nothing if the record is damaged."""
    with suppress(OSError, ValueError, AttributeError, RecursionError):
        found = json.loads(read_small(root / ".precision.json", 10_000))
        return {kind: value for kind, value in found.items() if value in (BFLOAT16, FLOAT32)}
    return {}
