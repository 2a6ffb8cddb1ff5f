"""The pipes between workers and their parent, and their ends.

A worker is to see the end of its pipe when its parent has gone, and the parent that of a worker's: so nobody else may
have a copy of an end. A process that is forked has copies of all that are open, and closes them here first.
"""

import contextlib
import functools
import os
import threading
import weakref
from typing import Any, Final

_ends: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


# Windows writes 4 GiB at most at once, and multiprocessing takes that for all.
most_bytes = 2**30
# No pickle begins like this.
_PARTS: Final = b"parts "


def send(pipe: Any, data: bytes) -> None:
    """Send a message, in parts if it is too large for one."""
    if len(data) <= most_bytes:
        pipe.send_bytes(data)
        return
    pipe.send_bytes(_PARTS + str(len(data)).encode())
    for start in range(0, len(data), most_bytes):
        pipe.send_bytes(data, start, min(most_bytes, len(data) - start))


def receive(pipe: Any) -> bytes:
    """Return a message."""
    data: bytes = pipe.recv_bytes()
    if not data.startswith(_PARTS):
        return data
    size, parts = int(data[len(_PARTS) :]), bytearray()
    while len(parts) < size:
        parts += pipe.recv_bytes()
    return bytes(parts)


class _Here(threading.local):
    """What the process that this thread forks just now is to keep."""

    kept: tuple[Any, ...] = ()


here: Final = _Here()


def keep_from_children(end: Any) -> None:
    """Close this end in every process that is forked from now on, but in the worker that it is for."""
    _close_in_children()
    _ends.add(end)


def close(end: Any) -> None:
    """Close an end of a pipe."""
    _ends.discard(end)  # before its number is another file's: a process that is forked just then would close that
    end.close()


@functools.cache
def _close_in_children() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close)


def _close() -> None:
    kept, here.kept = here.kept, ()
    for end in list(_ends):
        if not any(end is each for each in kept):
            with contextlib.suppress(OSError):  # another thread of the parent was about to close it
                end.close()
    _ends.clear()
