"""Mapped memory: what all systems have in common."""

import weakref
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Final

# From 2**7 bytes on, sizes are rounded up to eighths of a power of two: ctypes keeps a type for each length.
_SIZE_BITS: Final = 3


def round_up(size: int) -> int:
    """Return a size that is at most an eighth more, of which there are few."""
    step: int = 1 << max(size.bit_length() - 1 - _SIZE_BITS, 0)
    return -(-size // step) * step


def view_of(address: int, size: int, unmap: Callable[[int, int], object]) -> memoryview:
    """Return a view of mapped memory, which is unmapped with the last view; ctypes does that without the GIL."""
    import ctypes  # for who maps something

    memory = (ctypes.c_char * round_up(size)).from_address(address)
    # At the interpreter's exit the system does it, and there may still be views.
    weakref.finalize(memory, unmap, address, size).atexit = False
    # A view of ctypes' own has a format that nobody can cast.
    return PickleBuffer(memory).raw()[:size]


def address_of(target: memoryview) -> int:
    """Return where writable memory is."""
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(target))
