"""The pipes between workers and their parent: frames, and which process has which end.

A frame is one message: its kind, a number below 128, and its data. A worker must see that its pipe closes when its
parent has ended, and so must the parent when a worker has ended. So no other process may have a copy of an end: a
forked process gets copies of all open ends, and closes them first.
"""

import _socket
import contextlib
import errno
import functools
import io
import select
import struct
import threading
from multiprocessing.connection import wait
from typing import Any, Final

from .._forks import keep_through_forks
from .._originals import are_threads_green, os
from .._sockets import Socket, socket_pair

# A descriptor that no file has.
_CLOSED: Final = -1
# POSIX: a head with the size of the data and, in the highest byte, the kind; then the data. Up to `_SHORT` bytes, both
# are written and read together: a short message is one system call at each end.
_HEAD: Final = 8
_KIND_SHIFT: Final = 56
_SIZE_MASK: Final = 2**_KIND_SHIFT - 1
_SHORT: Final = 2**15
_MOST_READ: Final = 2**18
# Windows writes at most 4 GiB at once, and multiprocessing assumes that a write is complete. So a large message goes in
# parts, after a frame that has its kind with this flag, and its size.
most_bytes = 2**30
_IN_PARTS: Final = 0x80
# Linux: without this flag, a write to an ended process ends a program whose SIGPIPE has its default action.
_NO_SIGNAL: Final[int] = getattr(_socket, "MSG_NOSIGNAL", 0)
_SO_NOSIGPIPE: Final = 0x1022  # macOS has this instead (sys/socket.h)


def open_pipe(context: Any) -> tuple[Any, Any]:
    """Return the two ends of a pipe between a worker and its parent."""
    return socket_pair() if hasattr(_socket, "socketpair") else context.Pipe()


class End:
    """One end of a pipe between a worker and its parent. After `close`, every use raises an OSError."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection  # used by this object only

    def send(self, kind: int, data: bytes) -> None:
        """Send a message; raise an OSError if no process has the other end."""
        if len(data) < _SHORT:
            self.connection.send_bytes(bytes((kind,)) + data)
            return
        self.connection.send_bytes(bytes((kind | _IN_PARTS,)) + len(data).to_bytes(_HEAD, "little"))
        for start in range(0, len(data), most_bytes):
            self.connection.send_bytes(data, start, min(most_bytes, len(data) - start))

    def receive(self) -> tuple[int, bytes]:
        """Return a message's kind, and its data; raise an EOFError or OSError if no process has the other end.

        On Linux it is a ConnectionResetError if the other end was closed before all data had been read there
        (``unix_release_sock`` in the kernel's net/unix/af_unix.c).
        """
        data: bytes = self.connection.recv_bytes()
        kind = data[0]
        if not kind & _IN_PARTS:
            return kind, data[1:]
        size, parts = int.from_bytes(data[1:], "little"), io.BytesIO()
        while size:
            size -= parts.write(self.connection.recv_bytes())
        return kind & ~_IN_PARTS, parts.getvalue()

    def look_up(self, seconds: float) -> None:
        """Let `receive` raise a BlockingIOError after `seconds` without a message, if the system supports this."""

    def poll(self, seconds: float | None = 0.0, *sentinels: Any) -> bool:
        """Wait up to `seconds` for a message or the pipe's end; return whether it came. A sentinel ends the wait."""
        return self.connection in wait([self.connection, *sentinels], seconds)

    def close(self) -> None:
        """Close this end in this process."""
        # Before the file closes: another file may get its number, and a process that is forked then would close that.
        _ends.pop(self, None)
        self.close_here()

    def close_here(self) -> None:
        """Close this end without forgetting it, in a hook that forgets all ends."""
        self.connection.close()


class PosixEnd(End):
    """An end with fewer system calls: multiprocessing reads a message's size first, and then the message."""

    def __init__(self, connection: Any) -> None:
        super().__init__(connection)
        self._fd: int = connection.fileno()
        self._socket: Socket = connection
        self._socket.settimeout(None)  # a program may set a default for all sockets
        if not _NO_SIGNAL:
            self._socket.setsockopt(_socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        self._rest = b""  # data that came after the last message

    def send(self, kind: int, data: bytes) -> None:
        head = (kind << _KIND_SHIFT | len(data)).to_bytes(_HEAD, "little")
        rest = [head, data]
        if len(data) < _SHORT:
            data = head + data
            sent = self._socket.send(data, _NO_SIGNAL)
            if sent == len(data):
                return
            rest = [data[sent:]]
        try:
            for each in rest:
                self._socket.sendall(each, _NO_SIGNAL)
        except BaseException:  # perhaps from a signal handler
            self.close()  # otherwise the next message would be taken for the rest of this one
            raise

    def receive(self) -> tuple[int, bytes]:
        data = self._rest or os.read(self._fd, _SHORT)
        head = int.from_bytes(data[:_HEAD], "little")
        if len(data) == _HEAD + (head & _SIZE_MASK):
            self._rest = b""
            return head >> _KIND_SHIFT, data[_HEAD:]
        return self._receive(data)

    def _receive(self, data: bytes) -> tuple[int, bytes]:
        """Return the message that begins with `data`, which may be incomplete or contain further messages."""
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
        while True:
            with contextlib.suppress(BlockingIOError):  # the rest of the message will come
                data = os.read(self._fd, size)
                if not data:
                    raise EOFError
                return data

    def look_up(self, seconds: float) -> None:
        interval = struct.pack("@ll", int(seconds), 0)  # struct timeval
        self._socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, interval)

    def poll(self, seconds: float | None = 0.0, *sentinels: Any) -> bool:
        try:
            if self._rest:
                return True
            if are_threads_green():  # multiprocessing's wait may block all green threads
                return self.connection in select.select([self.connection, *sentinels], [], [], seconds)[0]
            return super().poll(seconds, *sentinels)
        except ValueError as error:  # the descriptor is closed
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from error

    def close_here(self) -> None:
        self._fd = _CLOSED  # another file may get its number from now on
        super().close_here()


def end_of(connection: Any) -> End:
    """Return the `End` of a connection."""
    return PosixEnd(connection) if isinstance(connection, Socket) else End(connection)


# All open ends, and whether children close them. Without these references, the garbage collector would close the ends
# of a pool in a cycle, and then the pool would close them again, when other files may have their numbers.
_ends: Final[dict[Any, bool]] = {}


# Held from the opening of an end until it is in `_ends`: a process that is forked in between would keep a copy.
opening: Final = threading.RLock()
keep_through_forks(opening)


class _Here(threading.local):
    """The ends that stay open in the process that this thread is forking."""

    kept: tuple[Any, ...] = ()


here: Final = _Here()


def keep_from_children(end: Any) -> None:
    """Close this end in each process that is forked from now on, except in the worker that it is for."""
    _close_in_children()
    _ends[end] = True


def hold(end: Any) -> None:
    """Keep this end open in forked processes, until `close`."""
    _ends[end] = False


def close(connection: Any) -> None:
    """Close an end of a pipe that is no `End`."""
    _ends.pop(connection, None)  # first, as in `End.close`
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
