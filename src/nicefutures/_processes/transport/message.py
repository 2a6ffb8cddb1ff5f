"""What travels between the processes."""

import itertools
import weakref
from typing import Any, Final, NamedTuple, Protocol


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


class Taker(Protocol):
    """Who gets the results of a pool's workers, in the parent."""

    def take(self, message: Message) -> Any:
        """Return a worker's result."""


_keys: Final = itertools.count()
# While a task has no result, its call keeps the one who takes it.
_takers: Final[weakref.WeakValueDictionary[int, Taker]] = weakref.WeakValueDictionary()


def register_taker(taker: Taker) -> int:
    """Return the key by which a result finds this one in the parent."""
    key = next(_keys)
    _takers[key] = taker
    return key


def load_result(key: int, message: Message) -> Any:
    """Return a result, in the parent: what the pickle of one calls."""
    return _takers[key].take(message)
