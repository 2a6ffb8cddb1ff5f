"""Shared memory on Linux: files without a name.

A ``memfd`` (memfd_create(2)) is memory that exists as long as a process has it open or mapped, so nothing stays behind,
no matter which process is killed and when. It is not in ``/dev/shm``, nor limited by the size of that. If memory is
short, a write to it fails with an error (``ENOSPC``, ``ENOMEM``), not with a signal.

* A worker opens its parent's segments through ``/proc/<pid>/fd`` (proc_pid_fd(5)). If that fails because the worker
  has changed its user, a sandbox forbids it, or the path leads to a different file, the worker asks the parent.
* A worker sends its segments to its parent through a socket (SCM_RIGHTS, unix(7)) before it sends their result, so
  the worker may end as soon as it has sent the result.
* Segments are sealed before other processes see them (F_ADD_SEALS, fcntl(2)), so no process can change mapped memory.
"""

import _socket
import contextlib
import errno
import fcntl
import functools
import itertools
import mmap
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..._originals import os
from ..._sockets import Socket, socket_pair
from ..mapping import view_of

if TYPE_CHECKING:
    import ctypes

    from ..protocols import SharedMemory

# MFD_NOEXEC_SEAL (linux/memfd.h, Linux 6.3): without it such a file is executable, which some systems forbid.
_MFD_NOEXEC_SEAL: Final = 0x8
_PAGE: Final = mmap.ALLOCATIONGRANULARITY
_TICKET_BYTES: Final = 16
# Seconds that a worker waits for an answer.
_PATIENCE: Final = 30.0

Address = tuple[int, int, int, int]


if not TYPE_CHECKING or sys.platform == "linux":
    # These work with any socket.
    _send_fds: Final[Any] = socket.send_fds
    _recv_fds: Final[Any] = socket.recv_fds
    _AT_ONCE: Final = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL

    class LinuxSegment:
        """An open file; `fd` is its descriptor."""

        def __init__(self, fd: int) -> None:
            self.fd = fd

        @property
        def address(self) -> Address:
            """Process id and descriptor, and device and inode of the file."""
            file = os.fstat(self.fd)
            return os.getpid(), self.fd, file.st_dev, file.st_ino

        def write(self, data: memoryview, offset: int) -> None:
            while data.nbytes:
                written = os.pwrite(self.fd, data, offset)
                data, offset = data[written:], offset + written

        def seal(self) -> None:
            """Forbid all processes to write to it."""
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)

        def read_into(self, target: memoryview, offset: int) -> None:
            while target.nbytes:
                read = os.preadv(self.fd, [target], offset)
                if read == 0:
                    raise EOFError
                target, offset = target[read:], offset + read

        def view(self, start: int, stop: int) -> memoryview:
            base = start - start % _PAGE
            address = _map(self.fd, base, stop - base)
            unmap = functools.partial(_libc().munmap, address, stop - base)
            return view_of(address, stop - base, unmap)[start - base :]

        # `close` is a default argument: at the interpreter's exit a module may have lost its names.
        def close(self, close: Callable[[int], None] = os.close) -> None:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                close(fd)

        __del__ = close

    class LinuxSender:
        """The workers' end of the socket, which they share."""

        def __init__(self, end: Socket) -> None:
            self._end = end

        def send(self, segment: LinuxSegment) -> bytes:
            segment.seal()
            ticket = self._send(segment.fd)
            segment.close()
            return ticket

        def _send(self, fd: int) -> bytes:
            ticket = _next_ticket()
            # Without blocking: if the parent does not take segments, the caller sends the data in another way.
            _send_fds(self._end, [ticket], [fd], _AT_ONCE)
            return ticket

        def ask(self, address: Address, put: Callable[[Any, Any], None]) -> LinuxSegment:
            own, parents = socket_pair(_socket.SOCK_SEQPACKET)
            with contextlib.closing(own):
                with contextlib.closing(parents):
                    put(address, self._send(parents.fileno()))
                own.settimeout(_PATIENCE)
                return _receive(own, 1)[1]

    class LinuxExchange:
        """The parent's end of the socket."""

        def __init__(self) -> None:
            _close_in_children()
            # This kind of socket keeps the messages of several workers apart.
            self._end, workers_end = socket_pair(_socket.SOCK_SEQPACKET)
            self.sender = LinuxSender(workers_end)
            self._workers_end = workers_end
            self._taken: dict[bytes, LinuxSegment] = {}
            self._lock = threading.Lock()
            _own_ends.add(self._end)

        def take(self, ticket: bytes) -> LinuxSegment:
            with self._lock:
                while ticket not in self._taken:
                    other, segment = _receive(self._end, _TICKET_BYTES, _socket.MSG_DONTWAIT)
                    self._taken[other] = segment
                return self._taken.pop(ticket)

        def answer(self, address: Address, reply_to: bytes) -> None:
            with contextlib.suppress(OSError):
                taken, segment = self.take(reply_to), _own_segments.get(address[1])
                with contextlib.closing(Socket(fileno=os.dup(taken.fd))) as reply:
                    taken.close()
                    if segment is not None:
                        _send_fds(reply, [b"0"], [segment.fd], _AT_ONCE)

        def close(self) -> None:
            with self._lock:
                self._taken.clear()
                self._end.close()
                self._workers_end.close()

    class LinuxSharedMemory:
        """Files without a name."""

        def create(self, size: int) -> LinuxSegment:
            _close_in_children()
            segment = LinuxSegment(_memfd())
            _own_segments[segment.fd] = segment
            os.ftruncate(segment.fd, size)
            return segment

        def open(self, address: Address) -> LinuxSegment:
            pid, fd, *file = address
            path = f"/proc/{pid}/fd/{fd}"
            found = os.stat(path)
            if [found.st_dev, found.st_ino] != file:  # in another pid namespace, another process has this id
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            return LinuxSegment(os.open(path, os.O_RDONLY | os.O_CLOEXEC))

        def exchange(self) -> LinuxExchange:
            return LinuxExchange()

    def find_shared_memory() -> "SharedMemory | None":
        """Return the shared memory; None without ``memfd``, or without ``/proc`` to open files of other processes."""
        if sys.maxsize < 2**32:  # a 32-bit address space is too small for large mappings
            return None
        memory = LinuxSharedMemory()
        try:
            segment = memory.create(_PAGE)
            segment.seal()
            memory.open(segment.address).close()
            # If prctl(PR_SET_DUMPABLE) forbids access to a process, these files do not belong to its user.
            own = os.stat(f"/proc/{os.getpid()}/fd").st_uid == os.geteuid()
        except (OSError, AttributeError):
            return None
        return memory if own else None

    def _memfd() -> int:
        try:
            return os.memfd_create("nicefutures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | _MFD_NOEXEC_SEAL)
        except OSError as error:
            if error.errno != errno.EINVAL:  # Linux before 6.3
                raise
            return os.memfd_create("nicefutures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    # Otherwise a forked child would keep its parent's segments in memory as long as it lives, and also segments in the
    # socket, which the parent did not take before it ended.
    _own_segments: weakref.WeakValueDictionary[int, LinuxSegment] = weakref.WeakValueDictionary()
    _own_ends: weakref.WeakSet[Socket] = weakref.WeakSet()

    @functools.cache
    def _close_in_children() -> None:
        os.register_at_fork(after_in_child=_close_all)

    def _close_all() -> None:
        for segment in list(_own_segments.values()):
            segment.close()
        for end in list(_own_ends):
            end.close()

    def _receive(end: Socket, size: int, flags: int = 0) -> tuple[bytes, LinuxSegment]:
        """Return a message and the segment that came with it."""
        message, fds, _, _ = _recv_fds(end, size, 1, flags | _socket.MSG_CMSG_CLOEXEC)
        if not fds:
            code = errno.EMFILE if message else errno.ENOENT
            raise OSError(code, os.strerror(code))
        return message, LinuxSegment(fds[0])

    _count = itertools.count()

    def _next_ticket() -> bytes:
        return os.getpid().to_bytes(_TICKET_BYTES // 2, "little") + next(_count).to_bytes(_TICKET_BYTES // 2, "little")

    @functools.cache
    def _libc() -> "ctypes.CDLL":
        """Return the C library, with the types of the functions that are called here (``sys/mman.h``)."""
        import ctypes  # here, for processes that map memory

        libc = ctypes.CDLL(None, use_errno=True)
        numbers = (ctypes.c_int,) * 3
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *numbers, ctypes.c_long)
        libc.mmap.restype = ctypes.c_void_p
        libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        libc.munmap.restype = ctypes.c_int
        return libc

    def _map(fd: int, offset: int, size: int) -> int:
        import ctypes

        # Up to Python 3.12, each `mmap.mmap` keeps a descriptor open as long as it lives, and a thousand results would
        # need too many.
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address: int | None = _libc().mmap(None, size, protection, mmap.MAP_PRIVATE, fd, offset)
        if address is None or address == ctypes.c_void_p(-1).value:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return address
