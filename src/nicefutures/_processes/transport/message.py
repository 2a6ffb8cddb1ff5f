"""What large buffers travel with."""

from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a buffer is: in the segment of that index, from that byte to that."""

    segment: int
    start: int
    stop: int


class Message(NamedTuple):
    """What is sent.

    Attributes
    ----------
    parts : list of bytes or Place
        The pickle.
    buffers : list of Place
        Its out-of-band buffers.
    segments : list
        What the segments are opened by.
    """

    parts: list[bytes | Place]
    buffers: list[Place]
    segments: list[Any]


class Orphans(NamedTuple):
    """What a worker has sent in vain, for not all of a result could be sent so.

    Attributes
    ----------
    tickets : list
        What the parent takes segments by.
    """

    tickets: list[Any]


class Question(NamedTuple):
    """What a worker asks its parent for.

    Attributes
    ----------
    what : Any
        What it wants to have.
    reply_to : Any
        Where it waits for that.
    """

    what: Any
    reply_to: Any
