"""What the commands have in common: their exit statuses, and what they write."""

import contextlib
import errno
import os
import sys
from typing import Any, Final, TextIO

USAGE_ERROR: Final = 2
CANNOT_WRITE: Final = 2
# That of a program which SIGPIPE ends, as the shell tells it; Windows has no such signal.
READER_GONE: Final = 128 + 13


def say(message: object, program: str = "nicefutures") -> None:
    """Write one line to standard error, if that takes it."""
    if sys.stderr is None:  # was closed when Python started
        return
    try:
        print(f"{program}: {printable(str(message))}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def put(text: str) -> int:
    """Write to standard output; return the exit status: 0, `READER_GONE`, or `CANNOT_WRITE`, having said why."""
    try:
        if sys.stdout is None:  # was closed when Python started
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # noqa: TRY301, the system would say the same
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)
    except OSError as error:
        if sys.stdout is not None:
            _discard(sys.stdout)
        if error.errno in (errno.EPIPE, errno.EINVAL):  # the second is Windows' word for it
            return READER_GONE
        say(f"write error: {error.strerror or error}")
        return CANNOT_WRITE
    return 0


def put_json(document: Any) -> int:
    """Write a document to standard output, in ASCII; return the exit status as `put`."""
    import json  # here, because `run` does without

    return put(json.dumps(document, indent=2))


def fill_standard_files() -> None:
    """Open those that are closed on nothing, or the next pipe gets the number of one, and what is written there."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def printable(text: str) -> str:
    r"""Escape, as `repr` does, what a terminal would obey: control characters, newlines, marks of direction.

    Examples
    --------
    >>> print(printable("a\x1b[31m\nb\u202ec"))
    a\x1b[31m\nb\u202ec
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def _discard(stream: TextIO) -> None:
    """Let go what could not be written: the interpreter would try again when it ends, and fail aloud."""
    with contextlib.suppress(OSError), open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), stream.fileno())
