"""Files and folders that are complete or not there."""

import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal

from cleanse.utils.lock import Lock
from cleanse.utils.usage_error import UsageError

_MARK = ".made-by-cleanse"


@contextmanager
def atomic_write(
    path: str | Path, mode: Literal["w", "wb", "w+b"] = "w", encoding: str | None = None, **how: Any
) -> Iterator[IO[Any]]:
    """A file to write that takes the place of ``path`` when the block is over, and only if it ends well.

    Until then it has a name of its own in the same folder: a new file, so that nothing that lies there already (a link,
    a pipe) is written to, and gone if anything goes wrong. A link at ``path`` is replaced, not followed. The file has
    the permissions that ``open`` would give it: those of the file that it replaces, or those that the umask leaves.

    Args:
        path: of the file.
        mode: ``w`` for text, ``wb`` or ``w+b`` for bytes.
        encoding: of text; None for UTF-8.
        how: more arguments of ``open``, such as ``newline`` and ``errors``.

    Raises:
        OSError: as ``open`` and ``write``; ``path`` is as it was.
    """
    path = Path(path)
    aside = path.with_name(f".{path.name[:40]}.{secrets.token_hex(8)}.aside")
    try:
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:  # says the name that the caller knows
        raise OSError(error.errno, error.strerror, str(path)) from None
    try:
        if "b" not in mode:
            how = {"encoding": encoding or "utf-8", **how}
        with open(descriptor, mode, **how) as file:
            with suppress(OSError):
                before = path.lstat()
                if stat.S_ISREG(before.st_mode):
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        try:
            aside.replace(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def check_new_file(path: str | Path, option: str = "--out") -> None:
    """See before the work begins that a file can be written at its end.

    Args:
        path: of the file.
        option: that names it.

    Raises:
        UsageError: it is a folder, or the folder that it would be in is not there.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{option} is a file, but {str(path)!r} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{option}: there is no folder {str(path.parent)!r} to write {path.name!r} to: make it first")


def atomic_write_text(path: str | Path, text: str, errors: str = "strict") -> None:
    """Write a UTF-8 text file; see `atomic_write`."""
    with atomic_write(path, "w", errors=errors) as file:
        file.write(text)


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file of bytes; see `atomic_write`."""
    with atomic_write(path, "wb") as file:
        file.write(content)


def digest_of(path: str | Path) -> str:
    """SHA-256 of a regular file's content, in hexadecimal.

    Raises:
        OSError: there is no such file, or a link.
        ValueError: it is no regular file (a device or a pipe need not end).
    """
    with _open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_small(path: str | Path, most: int = 16 * 2**20) -> bytes:
    """The content of a small regular file.

    Raises:
        OSError: there is no such file, or a link.
        ValueError: it is no regular file, or larger than ``most`` bytes.
    """
    with _open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{Path(path).name} is larger than {most} bytes")
    return content


def remove(path: str | Path) -> None:
    """Remove a file, a link or a folder with all that is in it, if it is there; a link is not followed."""
    path = Path(path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _open_regular(path: str | Path) -> Iterator[BufferedReader]:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{Path(path).name} is no regular file")
        yield file


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to fill, ``<out>.part``, that is renamed to ``out`` when the block is over.

    An exception removes it. What a killed command has left is removed by the next one.

    Args:
        out: missing or empty.

    Raises:
        ValueError: ``out`` is not empty, or another command is writing it.
    """
    check_new_folder(out)
    target = Path(os.path.realpath(out))
    part = target.with_name(f"{target.name}.part")
    mark = part / _MARK
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = Lock(target.with_name(f".{part.name}.lock"))
    if not lock.acquire():
        raise ValueError(f"out: another command is writing {str(out)!r}: wait for it, or name another folder")
    try:
        if os.path.lexists(part):
            if part.is_symlink() or not part.is_dir() or not (mark.is_file() or not os.listdir(part)):
                raise ValueError(f"out: {str(part)!r} is in the way: move it, or name another folder")
            shutil.rmtree(part)
        part.mkdir()
        try:
            mark.touch()
            yield part
            if target.exists():
                target.rmdir()  # refuses a folder that has been filled in the meantime
            part.rename(target)
            (target / mark.name).unlink()
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    finally:
        lock.release()


def check_new_folder(out: str | Path) -> None:
    """Raises: ValueError if ``out`` is neither missing nor an empty folder, or is a link to one."""
    if os.path.islink(out):
        raise ValueError(f"out: {str(out)!r} is a link, not an empty folder: name a new one")
    if os.path.lexists(out) and not (os.path.isdir(out) and not os.listdir(out)):
        raise ValueError(f"out: {str(out)!r} is there already and not an empty folder: name a new one")
