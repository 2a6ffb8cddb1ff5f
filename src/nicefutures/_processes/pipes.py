"""The pipes between workers and their parent: frames, and who has which end.

A frame is one message: its kind, a number below 128, and its data. A worker is to see the end of its pipe when its
parent has gone, and the parent that of a worker's. So nobody else may have a copy of an end: a process that is forked
has copies of all that are open, and closes them here first.
"""

import _socket
import contextlib
import functools
import io
import os
import threading
from multiprocessing.connection import Connection, wait
from typing import Any, Final

# A number that no file has.
_CLOSED: Final = -1
# POSIX: the size of the data and, in the highest byte, the kind; then the data. Up to that size both are written, and
# read, at once: a short message is one call of the system at each end.
_HEAD: Final = 8
_KIND_SHIFT: Final = 56
_SIZE_MASK: Final = 2**_KIND_SHIFT - 1
_SHORT: Final = 2**15
_MOST_READ: Final = 2**18
# Windows writes 4 GiB at most at once, and multiprocessing takes that for all. A large message goes in parts, after a
# frame of its kind and this, with its size.
most_bytes = 2**30
_IN_PARTS: Final = 0x80
# Linux: without it, a write to a process that has ended ends a program that has SIGPIPE at its default action.
_NO_SIGNAL: Final[int] = getattr(_socket, "MSG_NOSIGNAL", 0)
_SO_NOSIGPIPE: Final = 0x1022  # macOS has this instead (sys/socket.h)


class End:
    """One end of a pipe between a worker and its parent. After `close`, every use raises an OSError.

    Parameters
    ----------
    connection : multiprocessing.connection.Connection
        Its end for multiprocessing, which nobody uses but this.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def send(self, kind: int, data: bytes) -> None:
        """Send a message.

        Raises
        ------
        OSError
            If nobody has the other end.
        """
        if len(data) < _SHORT:
            self.connection.send_bytes(bytes((kind,)) + data)
            return
        self.connection.send_bytes(bytes((kind | _IN_PARTS,)) + len(data).to_bytes(_HEAD, "little"))
        for start in range(0, len(data), most_bytes):
            self.connection.send_bytes(data, start, min(most_bytes, len(data) - start))

    def receive(self) -> tuple[int, bytes]:
        """Return a message's kind, and its data.

        Raises
        ------
        EOFError, OSError
            If nobody has the other end. On Linux it is a ConnectionResetError if the other end was closed before all
            that was sent had been read there (``unix_release_sock`` in the kernel's net/unix/af_unix.c).
        """
        data: bytes = self.connection.recv_bytes()
        kind = data[0]
        if not kind & _IN_PARTS:
            return kind, data[1:]
        size, parts = int.from_bytes(data[1:], "little"), io.BytesIO()
        while size:
            size -= parts.write(self.connection.recv_bytes())
        return kind & ~_IN_PARTS, parts.getvalue()

    def poll(self, seconds: float | None = 0.0, *sentinels: Any) -> bool:
        """Wait for so many seconds; return whether there is a message, or the end. A process's end ends the wait."""
        return self.connection in wait([self.connection, *sentinels], seconds)

    def close(self) -> None:
        """Close it here."""
        # First, for its number may be another file's later: a process that is forked just then would close that.
        _ends.pop(self, None)
        self.close_here()

    def close_here(self) -> None:
        """Close it in this process, in a hook that forgets all of them."""
        self.connection.close()


class PosixEnd(End):
    """The same with fewer calls: multiprocessing reads a message's size, and then the message."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._fd: int = connection.fileno()
        # Not that of `socket`, which gevent and others replace.
        self._socket = _socket.socket(fileno=self._fd)
        self._socket.settimeout(None)  # for there is a default for all sockets
        if not _NO_SIGNAL:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        self._rest = b""  # that has come with a message before

    def send(self, kind: int, data: bytes) -> None:
        head = (kind << _KIND_SHIFT | len(data)).to_bytes(_HEAD, "little")
        if len(data) < _SHORT:
            data = head + data
            sent = self._socket.send(data, _NO_SIGNAL)
            if sent != len(data):
                self._socket.sendall(memoryview(data)[sent:], _NO_SIGNAL)
        else:
            self._socket.sendall(head, _NO_SIGNAL)
            self._socket.sendall(data, _NO_SIGNAL)

    def receive(self) -> tuple[int, bytes]:
        data = self._rest or os.read(self._fd, _SHORT)
        head = int.from_bytes(data[:_HEAD], "little")
        if len(data) == _HEAD + (head & _SIZE_MASK):
            self._rest = b""
            return head >> _KIND_SHIFT, data[_HEAD:]
        return self._receive(data)

    def _receive(self, data: bytes) -> tuple[int, bytes]:
        """Return a message of which this is the start, or with which others have come."""
        while len(data) < _HEAD:
            data += self._read(_SHORT)
        head = int.from_bytes(data[:_HEAD], "little")
        kind, stop = head >> _KIND_SHIFT, _HEAD + (head & _SIZE_MASK)
        self._rest = data[stop:]
        if len(data) >= stop:
            return kind, data[_HEAD:stop]
        message = io.BytesIO()
        message.write(memoryview(data)[_HEAD:])
        missing = stop - len(data)
        while missing:
            missing -= message.write(self._read(min(missing, _MOST_READ)))
        return kind, message.getvalue()

    def _read(self, size: int) -> bytes:
        data = os.read(self._fd, size)
        if not data:
            raise EOFError
        return data

    def poll(self, seconds: float | None = 0.0, *sentinels: Any) -> bool:
        return bool(self._rest) or super().poll(seconds, *sentinels)

    def __del__(self) -> None:
        self._socket.detach()  # the connection closes it

    def close_here(self) -> None:
        self._fd = _CLOSED  # which is another file's from now on, perhaps
        self._socket.detach()
        super().close_here()


def end_of(connection: Any) -> End:
    """Return what sends and receives there."""
    return PosixEnd(connection) if type(connection) is Connection else End(connection)


# All that are open, and whether they are closed in children. Without this, the garbage collector would close those of a
# pool that is in a cycle, and then the pool would, when their numbers may be other files'.
_ends: Final[dict[Any, bool]] = {}


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


def close(connection: Any) -> None:
    """Close an end of a pipe that is multiprocessing's."""
    _ends.pop(connection, None)  # first, as above
    connection.close()


@functools.cache
def _close_in_children() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_close)


def _close() -> None:
    kept, here.kept = here.kept, ()
    for end, is_closed in list(_ends.items()):
        if is_closed and not any(end is each for each in kept):
            with contextlib.suppress(OSError):  # another thread of the parent was about to close it
                end.close_here() if isinstance(end, End) else end.close()
    _ends.clear()
