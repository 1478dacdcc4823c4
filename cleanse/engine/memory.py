"""Let a training on the CPU keep its memory from step to step."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ENOUGH = 6 * 2**30
"""Bytes of memory below which it is left alone: what is kept is in pieces, a quarter more than is in use."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's numbers of them


@contextmanager
def memory_kept() -> Iterator[None]:
    """Inside the block, glibc keeps large blocks that are freed, instead of giving them back to the kernel (D5).

    Every activation is such a block: given back, it comes as new pages in the next step, which the kernel has to fill
    with zeros first. That was a third of the processor time of SimCLR on images of 64 pixels. Changes no result; does
    nothing without glibc, on a small machine, and where the environment says something about malloc.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        libc = ctypes.CDLL(None)
        mallopt, trim = libc.mallopt, libc.malloc_trim
    except (OSError, ValueError, AttributeError, TypeError):
        total = 0
    told = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if not sys.platform.startswith("linux") or total < _ENOUGH or told:
        yield
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1))
    try:
        yield
    finally:
        mallopt(_MMAP_MAX, 65536)  # as at the start of a process
        mallopt(_TRIM_THRESHOLD, 128 * 1024)
        trim(0)
