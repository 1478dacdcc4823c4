"""What an offline W&B run has written."""

import struct
from collections.abc import Iterator
from pathlib import Path


def records(path: Path) -> Iterator[bytes]:
    """The records of an offline W&B file (LevelDB's log format: blocks of 32 KiB, fragments with a 7-byte header)."""
    content, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        held += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last fragment of one
            yield held
            held = b""
