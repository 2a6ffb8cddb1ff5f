"""Mapped memory: functions for all systems."""

import contextlib
import weakref
from collections import deque
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any, Final

# From 2**7 bytes on, sizes are rounded up to eighths of a power of two: ctypes keeps a type for each length.
_SIZE_BITS: Final = 3


def round_up(size: int) -> int:
    """Round a size up by at most an eighth, so that few different sizes occur."""
    step: int = 1 << max(size.bit_length() - 1 - _SIZE_BITS, 0)
    return -(-size // step) * step


class _Reference(weakref.ref[Any]):
    """A weak reference that ctypes passes as a 0."""

    __slots__ = ()
    _as_parameter_: Final = 0


# The references to mapped memory, and to some that is gone.
_references: Final[deque[_Reference]] = deque()


def view_of(address: int, size: int, unmap: Callable[[_Reference], object]) -> memoryview:
    """Return a view of mapped memory, for which `unmap` is called, with a reference to it, after its last view.

    `unmap` should be a `functools.partial` of a C function: Python loses a Ctrl-C that comes while it runs Python code
    for the end of an object, and the main thread of a program that takes large results does that often. At the
    interpreter's exit the system unmaps the memory.
    """
    import ctypes  # here, for processes that map memory

    memory = (ctypes.c_char * round_up(size)).from_address(address)
    for _ in range(2):  # forget references to memory that is gone
        with contextlib.suppress(IndexError):
            reference = _references.popleft()
            if reference() is not None:
                _references.append(reference)
    _references.append(_Reference(memory, unmap))
    # A memoryview of the ctypes array has a format that cannot be cast.
    return PickleBuffer(memory).raw()[:size]


def address_of(target: memoryview) -> int:
    """Return the address of writable memory."""
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(target))
