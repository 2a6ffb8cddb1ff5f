"""The pipes between workers and their parent, and their ends.

A worker is to see the end of its pipe when its parent has gone, and the parent that of a worker's: so nobody else may
have a copy of an end. A process that is forked has copies of all that are open, and closes them here first.
"""

import contextlib
import functools
import io
import os
import threading
from multiprocessing.connection import Connection, wait
from typing import Any, Final

# All that are open, and whether they are closed in children. Without this, the garbage collector would close those of a
# pool that is in a cycle, and then the pool would, when their numbers may be other files'.
_ends: Final[dict[Any, bool]] = {}


# Windows writes 4 GiB at most at once, and multiprocessing takes that for all.
most_bytes = 2**30
# No pickle begins like this.
_PARTS: Final = b"parts "
# POSIX: how long a message is, in so many bytes, and then the message. Up to that size both are written, and read, at
# once: a short message is one call of the system at each end.
_HEAD: Final = 8
_SHORT: Final = 2**15
_MOST_READ: Final = 2**18


class End:
    """One end of a pipe between a worker and its parent.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        Its end for multiprocessing, which nobody uses but this.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def send(self, data: bytes) -> None:
        """Send a message, in parts if it is too large for one."""
        if len(data) <= most_bytes:
            self.connection.send_bytes(data)
            return
        self.connection.send_bytes(_PARTS + str(len(data)).encode())
        for start in range(0, len(data), most_bytes):
            self.connection.send_bytes(data, start, min(most_bytes, len(data) - start))

    def receive(self) -> bytes:
        """Return a message.

        Raises
        ------
        EOFError, OSError
            If nobody has the other end.
        """
        data: bytes = self.connection.recv_bytes()
        if not data.startswith(_PARTS):
            return data
        size, parts = int(data[len(_PARTS) :]), bytearray()
        while len(parts) < size:
            parts += self.connection.recv_bytes()
        return bytes(parts)

    def poll(self, seconds: float = 0.0) -> bool:
        """Return whether there is a message, or the end, within that time."""
        is_there: bool = self.connection.poll(seconds)
        return is_there

    def wait_beside(self, sentinel: Any) -> bool:
        """Wait for a message, or until a process has ended; return whether there is one."""
        return self.connection in wait([self.connection, sentinel])

    def close(self) -> None:
        """Close it here."""
        close(self.connection)


class PosixEnd(End):
    """The same with fewer calls: multiprocessing reads a message's size, and then the message."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._fd: int = connection.fileno()
        self._rest = b""  # that has come with a message before

    def send(self, data: bytes) -> None:
        head = len(data).to_bytes(_HEAD, "little")
        if len(data) < _SHORT:
            data = head + data
            written = os.write(self._fd, data)
            if written == len(data):
                return
            self._write(memoryview(data)[written:])
        else:
            self._write(memoryview(head))
            self._write(memoryview(data))

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def receive(self) -> bytes:
        data = self._rest or os.read(self._fd, _SHORT)
        stop = _HEAD + int.from_bytes(data[:_HEAD], "little")
        if len(data) == stop:
            self._rest = b""
            return data[_HEAD:]
        return self._receive(data)

    def _receive(self, data: bytes) -> bytes:
        """Return a message of which this is the start, or with which others have come."""
        while len(data) < _HEAD:
            data += self._read(_SHORT)
        stop = _HEAD + int.from_bytes(data[:_HEAD], "little")
        self._rest = data[stop:]
        if len(data) >= stop:
            return data[_HEAD:stop]
        message = io.BytesIO()
        message.write(memoryview(data)[_HEAD:])
        missing = stop - len(data)
        while missing:
            missing -= message.write(self._read(min(missing, _MOST_READ)))
        return message.getvalue()

    def _read(self, size: int) -> bytes:
        data = os.read(self._fd, size)
        if not data:
            raise EOFError
        return data

    def poll(self, seconds: float = 0.0) -> bool:
        return bool(self._rest) or super().poll(seconds)

    def wait_beside(self, sentinel: Any) -> bool:
        return bool(self._rest) or super().wait_beside(sentinel)

    def close(self) -> None:
        self._fd = -1  # which may be another file's from now on
        super().close()


def end_of(connection: Any) -> End:
    """Return what sends and receives there."""
    return PosixEnd(connection) if type(connection) is Connection else End(connection)


class _Here(threading.local):
    """What the process that this thread forks just now is to keep."""

    kept: tuple[Any, ...] = ()


here: Final = _Here()


def keep_from_children(end: Any) -> None:
    """Close this end in every process that is forked from now on, but in the worker that it is for."""
    _close_in_children()
    _ends[end] = True


def hold(end: Any) -> None:
    """Have this end in all of them, until `close`."""
    _ends[end] = False


def close(end: Any) -> None:
    """Close an end of a pipe."""
    _ends.pop(end, None)  # before its number is another file's: a process that is forked just then would close that
    end.close()


@functools.cache
def _close_in_children() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close)


def _close() -> None:
    kept, here.kept = here.kept, ()
    for end, is_closed in list(_ends.items()):
        if is_closed and not any(end is each for each in kept):
            with contextlib.suppress(OSError):  # another thread of the parent was about to close it
                end.close()
    _ends.clear()
