"""Memory that one process fills and another one maps: what all systems have in common."""

import weakref
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any, Final, Protocol

# From 2**7 bytes on, sizes are rounded up to eighths of a power of two: ctypes keeps a type for each length.
_SIZE_BITS: Final = 3


class Segment(Protocol):
    """Memory that can be mapped. Whoever made or opened one closes it, at the latest by forgetting it.

    Attributes
    ----------
    address : Any
        What other processes open it by, while it is open here; it can be pickled.
    """

    address: Any

    def write(self, data: memoryview, offset: int) -> None:
        """Copy bytes there, without the GIL; an OSError says that there is no memory for them."""

    def read_into(self, target: memoryview, offset: int) -> None:
        """Copy bytes from there, without the GIL."""

    def view(self, start: int, stop: int) -> memoryview:
        """Map a part: writable, and what is written stays here. The memory goes with the last view of it."""

    def close(self) -> None:
        """Let it go; views of it stay."""


class Sender(Protocol):
    """A worker's end of an `Exchange`. It can be pickled while a process starts."""

    def send(self, segment: Any) -> Any:
        """Hand a segment over, and return the ticket that the parent gets it by. It is closed here.

        OSError if that cannot be done now, a ConnectionError if never again.
        """

    def ask(self, address: Any, put: Callable[[Any, Any], None]) -> "Segment":
        """Get from the parent what cannot be opened here; OSError if that gives nothing.

        `put` sends it the address, and what its `Exchange.answer` is to be called with.
        """


class Exchange(Protocol):
    """Where the workers of one pool hand over to their parent: a segment belongs to one of them at any time.

    Attributes
    ----------
    sender : Sender
        The workers' end.
    """

    sender: Sender

    def take(self, ticket: Any) -> Segment:
        """Return what a worker has handed over."""

    def answer(self, address: Any, reply_to: Any) -> None:
        """Let a worker have what it asks for, if it still exists."""

    def close(self) -> None:
        """Let go whatever nobody has taken."""


class SharedMemory(Protocol):
    """What a system offers."""

    def create(self, size: int) -> Segment:
        """Return a new segment of so many bytes; OSError if there is none to be had."""

    def open(self, address: Any) -> Segment:
        """Return a segment of another process."""

    def exchange(self) -> Exchange:
        """Return a new exchange."""


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
