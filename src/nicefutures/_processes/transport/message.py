"""Messages that carry large buffers, and notes about them."""

from typing import Any, NamedTuple


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
