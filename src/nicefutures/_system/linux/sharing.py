"""Shared memory on Linux: files without a name.

A ``memfd`` (memfd_create(2)) is memory that exists as long as some process has it open or mapped: whoever is killed,
and whenever, nothing stays behind. It is not in ``/dev/shm`` and not limited by the size of that, and to write to it
is an error where the memory is short (``ENOSPC``, ``ENOMEM``), not a signal.

* A worker opens what its parent has through ``/proc/<pid>/fd`` (proc_pid_fd(5)). If it may not, for it has become
  another user, or a sandbox forbids it, it asks the parent.
* What a worker has it sends to its parent through a socket (SCM_RIGHTS, unix(7)), before the result that goes with it:
  so the worker may end as soon as it has sent that.
* Segments are sealed before anybody else sees them (F_ADD_SEALS, fcntl(2)): nobody can change what another maps.
"""

import contextlib
import errno
import fcntl
import functools
import itertools
import mmap
import os
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..mapping import view_of

if TYPE_CHECKING:
    import ctypes

    from ..protocols import SharedMemory

# MFD_NOEXEC_SEAL (linux/memfd.h, Linux 6.3): without it such a file may be executed, which some systems forbid.
_MFD_NOEXEC_SEAL: Final = 0x8
_PAGE: Final = mmap.ALLOCATIONGRANULARITY
_TICKET_BYTES: Final = 16
# Seconds that a worker waits for an answer.
_PATIENCE: Final = 30.0

Address = tuple[int, int]


if not TYPE_CHECKING or sys.platform == "linux":
    _AT_ONCE: Final = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL

    class LinuxSegment:
        """An open file; `fd` is its descriptor."""

        def __init__(self, fd: int) -> None:
            self.fd = fd

        @property
        def address(self) -> Address:
            """Whose descriptor it is, and which."""
            return os.getpid(), self.fd

        def write(self, data: memoryview, offset: int) -> None:
            while data.nbytes:
                written = os.pwrite(self.fd, data, offset)
                data, offset = data[written:], offset + written

        def seal(self) -> None:
            """Keep everybody from writing to it."""
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
            return view_of(address, stop - base, _unmap)[start - base :]

        # A default: at the interpreter's exit a module may have lost its names.
        def close(self, close: Callable[[int], None] = os.close) -> None:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                close(fd)

        __del__ = close

    class LinuxSender:
        """The end of the socket that all workers have."""

        def __init__(self, end: socket.socket) -> None:
            self._end = end

        def send(self, segment: LinuxSegment) -> bytes:
            segment.seal()
            ticket = self._send(segment.fd)
            segment.close()
            return ticket

        def _send(self, fd: int) -> bytes:
            ticket = _next_ticket()
            # Not blocking: if nobody takes anything, then there is another way.
            socket.send_fds(self._end, [ticket], [fd], _AT_ONCE)
            return ticket

        def ask(self, address: Address, put: Callable[[Any, Any], None]) -> LinuxSegment:
            own, parents = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with own:
                with parents:
                    put(address, self._send(parents.fileno()))
                own.settimeout(_PATIENCE)
                return _receive(own, 1)[1]

    class LinuxExchange:
        """The parent's end of the socket."""

        def __init__(self) -> None:
            _close_in_children()
            # A connection of messages, so that those of several workers do not mix.
            self._end, workers_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.sender = LinuxSender(workers_end)
            self._workers_end = workers_end
            self._taken: dict[bytes, LinuxSegment] = {}
            self._lock = threading.Lock()
            _own_ends.add(self._end)

        def take(self, ticket: bytes) -> LinuxSegment:
            with self._lock:
                while ticket not in self._taken:
                    other, segment = _receive(self._end, _TICKET_BYTES, socket.MSG_DONTWAIT)
                    self._taken[other] = segment
                return self._taken.pop(ticket)

        def answer(self, address: Address, reply_to: bytes) -> None:
            with contextlib.suppress(OSError):
                taken, segment = self.take(reply_to), _own_segments.get(address[1])
                with socket.fromfd(taken.fd, socket.AF_UNIX, socket.SOCK_SEQPACKET) as reply:
                    taken.close()
                    if segment is not None:
                        socket.send_fds(reply, [b"0"], [segment.fd], _AT_ONCE)

        def close(self) -> None:
            with self._lock:
                self._taken.clear()
                self._end.close()
                self._workers_end.close()

        __del__ = close

    class LinuxSharedMemory:
        """Files without a name."""

        def create(self, size: int) -> LinuxSegment:
            _close_in_children()
            segment = LinuxSegment(_memfd())
            _own_segments[segment.fd] = segment
            os.ftruncate(segment.fd, size)
            return segment

        def open(self, address: Address) -> LinuxSegment:
            pid, fd = address
            return LinuxSegment(os.open(f"/proc/{pid}/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC))

        def exchange(self) -> LinuxExchange:
            return LinuxExchange()

    def find_shared_memory() -> "SharedMemory | None":
        """Return what there is: nothing without these files, or without ``/proc`` to open another process's."""
        if sys.maxsize < 2**32:  # what is mapped here does not fit into small addresses
            return None
        memory = LinuxSharedMemory()
        try:
            segment = memory.create(_PAGE)
            segment.seal()
            memory.open(segment.address).close()
            # Of a process that may not be looked into, by prctl(PR_SET_DUMPABLE), these files are not its own.
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

    # A forked child would keep the memory of its parent's segments for as long as it lives, and that of the segments
    # which are on their way to a parent that has ended.
    _own_segments: weakref.WeakValueDictionary[int, LinuxSegment] = weakref.WeakValueDictionary()
    _own_ends: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    @functools.cache
    def _close_in_children() -> None:
        os.register_at_fork(after_in_child=_close_all)

    def _close_all() -> None:
        for segment in list(_own_segments.values()):
            segment.close()
        for end in list(_own_ends):
            end.close()

    def _receive(end: socket.socket, size: int, flags: int = 0) -> tuple[bytes, LinuxSegment]:
        """Return a message and what came with it."""
        message, fds, _, _ = socket.recv_fds(end, size, 1, flags | socket.MSG_CMSG_CLOEXEC)
        if not fds:
            code = errno.EMFILE if message else errno.ENOENT
            raise OSError(code, os.strerror(code))
        return message, LinuxSegment(fds[0])

    _count = itertools.count()

    def _next_ticket() -> bytes:
        return os.getpid().to_bytes(_TICKET_BYTES // 2, "little") + next(_count).to_bytes(_TICKET_BYTES // 2, "little")

    @functools.cache
    def _libc() -> "ctypes.CDLL":
        """Return the C library with the types of what is called here (``sys/mman.h``)."""
        import ctypes  # for who maps something

        libc = ctypes.CDLL(None, use_errno=True)
        numbers = (ctypes.c_int,) * 3
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *numbers, ctypes.c_long)
        libc.mmap.restype = ctypes.c_void_p
        libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
        libc.munmap.restype = ctypes.c_int
        return libc

    def _map(fd: int, offset: int, size: int) -> int:
        import ctypes

        # Of Python's own mmap each has a descriptor for as long as it lives (up to 3.12): a thousand results are too
        # many for that.
        protection = mmap.PROT_READ | mmap.PROT_WRITE
        address: int | None = _libc().mmap(None, size, protection, mmap.MAP_PRIVATE, fd, offset)
        if address is None or address == ctypes.c_void_p(-1).value:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return address

    def _unmap(address: int, size: int) -> Any:
        return _libc().munmap(address, size)
