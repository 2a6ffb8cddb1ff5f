"""Unpickles what has come, with its large buffers in memory of their own."""

import contextlib
import io
import pickle
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .message import Message, Place

if TYPE_CHECKING:
    from ..._system.protocols import Segment

# What is smaller is copied and not mapped, for a mapping takes whole pages.
_LEAST_MAPPED: Final = 2**16


# From so many bytes on the GIL is given away between two frames of a pickle, which `pickle.loads` does not do: a window
# of this process would stop.
_LEAST_IN_FRAMES: Final = 2**16


def loads(data: bytes) -> Any:
    """Return what has been pickled."""
    if len(data) < _LEAST_IN_FRAMES:
        return pickle.loads(data)  # noqa: S301, from ourselves
    return pickle.Unpickler(_Reader([data], [])).load()  # noqa: S301


def map_buffers(message: Message, segments: list["Segment"]) -> list[memoryview]:
    """Return the out-of-band buffers, each in memory of its own, or one that several places are."""
    views: dict[Place, memoryview] = {}
    for place in message.buffers:
        if place not in views:
            views[place] = _view(segments[place.segment], place)
    return [views[place] for place in message.buffers]


def _view(segment: "Segment", place: Place) -> memoryview:
    size = place.stop - place.start
    if size >= _LEAST_MAPPED:
        with contextlib.suppress(OSError):  # of mappings a process may have so many, and no more
            return segment.view(place.start, place.stop)
    memory = memoryview(bytearray(size))
    segment.read_into(memory, place.start)
    return memory


def load(message: Message, segments: list["Segment"], buffers: list[memoryview]) -> Any:
    return pickle.Unpickler(_Reader(message.parts, segments), buffers=buffers).load()  # noqa: S301


class _Reader:
    """What an unpickler reads from. It asks for what is large by itself, with the memory that this shall go to."""

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


@contextlib.contextmanager
def closing(segments: list["Segment"]) -> Iterator[list["Segment"]]:
    try:
        yield segments
    finally:
        for segment in segments:
            segment.close()
