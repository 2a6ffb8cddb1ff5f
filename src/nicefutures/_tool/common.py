"""Exit statuses and output, which all commands share."""

import contextlib
import errno
import json
import os
import sys
from typing import Any, Final, TextIO

USAGE_ERROR: Final = 2
CANNOT_WRITE: Final = 2
# As a shell reports it for a program that SIGPIPE ends; Windows has no such signal.
READER_GONE: Final = 128 + 13


def say(message: object, program: str = "nicefutures") -> None:
    """Write one line to standard error, if possible."""
    if sys.stderr is None:  # was closed when Python started
        return
    try:
        print(f"{program}: {printable(str(message))}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def put(text: str) -> int:
    """Write to standard output; return the exit status: 0, `READER_GONE`, or `CANNOT_WRITE` after a message."""
    try:
        if sys.stdout is None:  # was closed when Python started
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # noqa: TRY301, the system would say the same
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        if sys.stdout is not None:
            _discard(sys.stdout)
        if error.errno in (errno.EPIPE, errno.EINVAL):  # Windows reports the second one
            return READER_GONE
        say(f"write error: {error.strerror or error}")
        return CANNOT_WRITE
    return 0


def put_json(document: Any) -> int:
    """Write a document to standard output, in ASCII; return the exit status, as `put` does."""
    return put(json.dumps(document, indent=2))


def fill_standard_files() -> None:
    """Open closed standard files on the null device: otherwise a pipe may get the number of one, and its output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def printable(text: str) -> str:
    r"""Escape, as `repr` does, characters that a terminal would obey: controls, newlines, marks of direction.

    Examples
    --------
    >>> print(printable("a\x1b[31m\nb\u202ec"))
    a\x1b[31m\nb\u202ec
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _discard(stream: TextIO) -> None:
    """Discard output that could not be written: at its exit, the interpreter would try again and print an error."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), stream.fileno())
