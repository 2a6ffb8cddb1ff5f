"""Messages that carry large buffers, notes about them, and how a message is unpickled.

The large buffers of an unpickled object have memory of their own.
"""

import contextlib
import io
import pickle
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from ..._system.protocols import Segment

# Smaller buffers are copied and not mapped, because a mapping takes whole pages.
_LEAST_MAPPED: Final = 2**16
# From this size on, the GIL is released between two frames of a pickle. `pickle.loads` does not do that, so a window of
# this process would freeze.
_LEAST_IN_FRAMES: Final = 2**16


class Place(NamedTuple):
    """The place of a buffer: the index of its segment, and its first and last byte there (`stop` is exclusive)."""

    segment: int
    start: int
    stop: int


class Message(NamedTuple):
    """A pickle, its out-of-band buffers (small ones are included), and the addresses or tickets of the segments."""

    parts: list[bytes | Place]
    buffers: list[Place | bytearray]
    segments: list[Any]


class Orphans(NamedTuple):
    """Tickets of segments that no result uses, because the worker could not send all segments of the result."""

    tickets: list[Any]


class Question(NamedTuple):
    """A worker's request for a segment: its address, and where the worker waits for the answer."""

    what: Any
    reply_to: Any


def loads(data: bytes, buffers: Any = ()) -> Any:
    """Return the unpickled object."""
    if len(data) < _LEAST_IN_FRAMES:
        return pickle.loads(data, buffers=buffers)  # noqa: S301, from our own processes
    return _load([data], [], buffers)


def load(message: Message, segments: list["Segment"]) -> Any:
    """Return the object of a message with segments, and close the segments."""
    try:
        # Several buffers may have the same place, and then have the same memory.
        views = {each: _view(segments[each.segment], each) for each in message.buffers if isinstance(each, Place)}
        buffers = [views[each] if isinstance(each, Place) else each for each in message.buffers]
        only = message.parts[0] if len(message.parts) == 1 else None
        return loads(only, buffers) if isinstance(only, bytes) else _load(message.parts, segments, buffers)
    finally:
        for segment in segments:
            segment.close()


def _load(parts: list[bytes | Place], segments: list["Segment"], buffers: Any) -> Any:
    return pickle.Unpickler(_Reader(parts, segments), buffers=buffers).load()  # noqa: S301


def _view(segment: "Segment", place: Place) -> memoryview:
    size = place.stop - place.start
    if size >= _LEAST_MAPPED:
        with contextlib.suppress(OSError):  # the number of a process's mappings is limited
            return segment.view(place.start, place.stop)
    memory = memoryview(bytearray(size))
    segment.read_into(memory, place.start)
    return memory


class _Reader:
    """A file for an unpickler, which reads each large object directly into the memory of the object."""

    def __init__(self, parts: list[bytes | Place], segments: list["Segment"]) -> None:
        self._parts = [io.BytesIO(part) if isinstance(part, bytes) else part for part in parts]
        self._segments = segments

    def readinto(self, target: Any) -> int:
        rest = memoryview(target).cast("B")
        size = rest.nbytes
        while self._parts and rest.nbytes:
            part = self._parts[0]
            if isinstance(part, Place):
                count = min(part.stop - part.start, rest.nbytes)
                self._segments[part.segment].read_into(rest[:count], part.start)
                part = self._parts[0] = part._replace(start=part.start + count)
                ended = part.start == part.stop
            else:
                count = part.readinto(rest)
                ended = count < rest.nbytes
            if ended:
                del self._parts[0]
            rest = rest[count:]
        return size - rest.nbytes

    def read(self, size: int) -> bytes:
        data = bytearray(size)
        return bytes(memoryview(data)[: self.readinto(data)])

    def readline(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n") and (byte := self.read(1)):
            line += byte
        return bytes(line)
