"""What the system refuses, as a sentence."""

import errno

_WHAT = {
    errno.EEXIST: "{} is there already, and no folder: move it away, or name another",
    errno.ENOTDIR: "{} cannot be reached: a part of its path is a file and no folder",
    errno.EISDIR: "{} is a folder where a file belongs: move it away, or name another",
    errno.ENAMETOOLONG: "{} is too long a name for this disk: give a shorter one",
    errno.EACCES: "{} may not be read or written by this user",
    errno.EPERM: "{} may not be read or written by this user",
    errno.EROFS: "{} cannot be written: its disk can only be read",
    errno.ENOENT: "there is no file or folder {}",
    errno.ELOOP: "{} is a link that is not followed, or one that leads to itself: remove it",
}


def in_words(error: OSError) -> str:
    """What went wrong, and where, without a number; the error's own text where that is not known.

    >>> in_words(OSError(errno.EISDIR, "Is a directory", "runs/x/results.json"))
    "'runs/x/results.json' is a folder where a file belongs: move it away, or name another"
    >>> in_words(OSError("the whole story"))
    'the whole story'
    """
    said = _WHAT.get(error.errno or 0)
    if said is None or not isinstance(error.filename, (str, bytes)):
        return str(error)
    name = error.filename if isinstance(error.filename, str) else error.filename.decode("utf-8", "surrogateescape")
    if len(name) > 200:
        name = f"{name[:60]}...{name[-20:]}"
    return said.format(f"'{name}'")
