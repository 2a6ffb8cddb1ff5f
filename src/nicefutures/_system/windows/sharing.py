"""Shared memory on Windows: sections without a name, in the paging file.

A section (CreateFileMapping, ``memoryapi.h``) exists as long as a process has a handle or a view of it, so nothing
stays behind, no matter which process is killed and when. Its memory is committed when the section is created, so a lack
of memory is an error then, and not later.

* A worker duplicates its parent's handle.
* A parent takes a worker's handle away (DUPLICATE_CLOSE_SOURCE, DuplicateHandle), so a section has one owner at any
  time. A worker ends only when its parent tells it to, and the parent has taken all sections by then.
* All views are copy on write (FILE_MAP_COPY, MapViewOfFile).
"""

import contextlib
import ctypes
import errno
import functools
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from ctypes import wintypes
from typing import TYPE_CHECKING, Any, Final

from ..mapping import address_of, view_of

if TYPE_CHECKING:
    from ..protocols import SharedMemory

PAGE_READWRITE: Final = 0x04  # winnt.h
FILE_MAP_COPY: Final = 0x1  # memoryapi.h
FILE_MAP_WRITE: Final = 0x2
FILE_MAP_READ: Final = 0x4
PROCESS_DUP_HANDLE: Final = 0x0040  # winnt.h
DUPLICATE_CLOSE_SOURCE: Final = 0x1  # winnt.h
DUPLICATE_SAME_ACCESS: Final = 0x2

_GRANULARITY: Final = mmap.ALLOCATIONGRANULARITY

Address = tuple[int, int]


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` (the C API's "Buffer Protocol")."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


@contextlib.contextmanager
def _address_to_read(data: memoryview) -> Iterator[int]:
    """Yield the address of memory that may be read-only, which ctypes does not support."""
    api, buffer = ctypes.pythonapi, _PyBuffer()
    get, release = api.PyObject_GetBuffer, api.PyBuffer_Release
    get.argtypes, get.restype = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int), ctypes.c_int
    release.argtypes, release.restype = (ctypes.POINTER(_PyBuffer),), None
    get(data, ctypes.byref(buffer), 0)  # PyBUF_SIMPLE; its errors are raised
    try:
        yield buffer.buf or 0
    finally:
        release(ctypes.byref(buffer))


if not TYPE_CHECKING or sys.platform == "win32":
    from .seam import checked, get_kernel32, opened

    class WindowsSegment:
        """A section; `handle` is this process's."""

        def __init__(self, handle: int) -> None:
            self.handle = handle

        @property
        def address(self) -> Address:
            """Process id and handle."""
            return os.getpid(), self.handle

        def write(self, data: memoryview, offset: int) -> None:
            with self._mapped(FILE_MAP_WRITE, offset, data.nbytes) as target, _address_to_read(data) as source:
                ctypes.memmove(target, source, data.nbytes)  # without the GIL, as all calls of ctypes

        def read_into(self, target: memoryview, offset: int) -> None:
            with self._mapped(FILE_MAP_READ, offset, target.nbytes) as source:
                ctypes.memmove(address_of(target), source, target.nbytes)

        def view(self, start: int, stop: int) -> memoryview:
            base = start - start % _GRANULARITY
            address = _map(self.handle, FILE_MAP_COPY, base, stop - base)
            return view_of(address, stop - base, functools.partial(_unmap, address))[start - base :]

        @contextlib.contextmanager
        def _mapped(self, access: int, start: int, size: int) -> Iterator[int]:
            base = start - start % _GRANULARITY
            address = _map(self.handle, access, base, start - base + size)
            try:
                yield address + start - base
            finally:
                _unmap(address)

        # `library` is a default argument: at the interpreter's exit a module may have lost its names.
        def close(self, library: Callable[[], Any] = get_kernel32) -> None:
            handle, self.handle = self.handle, 0
            if handle:
                library().CloseHandle(handle)

        __del__ = close

    class WindowsSender:
        """Leaves the handle open for the parent, which takes it."""

        def send(self, segment: WindowsSegment) -> Address:
            ticket = segment.address
            segment.handle = 0
            return ticket

        def ask(self, address: Address, put: Callable[[Any, Any], None]) -> WindowsSegment:  # noqa: ARG002
            """Raise: a worker that may not duplicate the parent's handles has given up its user's rights."""
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    class WindowsExchange:
        """The parent's end, which has no state."""

        def __init__(self) -> None:
            self.sender = WindowsSender()

        def take(self, ticket: Address) -> WindowsSegment:
            return WindowsSegment(_duplicate(*ticket, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE))

        def answer(self, address: Address, reply_to: Any) -> None:
            """Do nothing: workers never ask."""

        def close(self) -> None:
            """Do nothing: segments that were not taken ended with their worker."""

    class WindowsSharedMemory:
        """Sections without a name."""

        def create(self, size: int) -> WindowsSegment:
            nowhere = wintypes.HANDLE(-1)
            create = get_kernel32().CreateFileMappingW
            return WindowsSegment(checked(create(nowhere, None, PAGE_READWRITE, size >> 32, size & 0xFFFFFFFF, None)))

        def open(self, address: Address) -> WindowsSegment:
            return WindowsSegment(_duplicate(*address, DUPLICATE_SAME_ACCESS))

        def exchange(self) -> WindowsExchange:
            return WindowsExchange()

    def find_shared_memory() -> "SharedMemory | None":
        return WindowsSharedMemory()

    def _map(handle: int, access: int, offset: int, size: int) -> int:
        return checked(get_kernel32().MapViewOfFile(handle, access, offset >> 32, offset & 0xFFFFFFFF, size))

    def _unmap(address: int, _: object = None) -> Any:
        return get_kernel32().UnmapViewOfFile(address)

    def _duplicate(pid: int, handle: int, options: int) -> int:
        kernel32, copy = get_kernel32(), wintypes.HANDLE()
        own = kernel32.GetCurrentProcess()
        with opened(kernel32.OpenProcess(PROCESS_DUP_HANDLE, False, pid)) as process:
            checked(kernel32.DuplicateHandle(process, handle, own, ctypes.byref(copy), 0, False, options))
        return copy.value or 0
