"""Fetching a public data set's files, and saying how to get them when that is impossible."""

import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path


def not_found(name: str, looked: Sequence[Path], how: str, why: str) -> ValueError:
    """The error for files that are missing: which, where they were looked for, and what to do.

    >>> print(not_found("MNIST", [Path("data")], "unpack it there", "download is off"))
    MNIST was not found in data (download is off): set root to the folder that has it, or unpack it there
    """
    places = " or ".join(str(place) for place in looked)
    return ValueError(f"{name} was not found in {places} ({why}): set root to the folder that has it, or {how}")


def why_missing(download: bool) -> str:
    """What stands in `not_found` when reading, not downloading, finds that files are missing."""
    return "prepare_data() would download it" if download else "download=true would fetch it"


def fetch(datasets: Sequence[Callable[[], object]], error: Callable[[str], ValueError]) -> None:
    """Call torchvision constructors that download; what they print goes to standard error.

    Args:
        datasets: each downloads when called.
        error: makes the exception from what went wrong.

    Raises:
        ValueError: ``error``'s, whatever went wrong on the way.
    """
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)  # torchvision sets none, and behind a firewall the connection would hang for minutes
    try:
        with redirect_stdout(sys.stderr):
            for dataset in datasets:
                dataset()
    except Exception as reason:  # no network, a full disk, a cut archive: the advice is the same
        what = " ".join(str(reason).split()) or type(reason).__name__
        raise error(f"downloading failed: {what}") from reason
    finally:
        socket.setdefaulttimeout(timeout)
