"""The parent's end."""

import contextlib
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .keeping import Copy, Keeping, Needs
from .message import Message, Orphans, Question
from .pickling import pickle_buffers, pickle_whole
from .unpickling import closing, load, map_buffers
from .worker import WorkerEnd

if TYPE_CHECKING:
    from ..._system.protocols import Exchange, SharedMemory


class Packed(NamedTuple):
    """A task as it is sent.

    Attributes
    ----------
    data : bytes
        What to send.
    needs : Needs or None
        What its worker opens; it has to be there until the task is done.
    sent : list
        What is in it by value, and what its worker has to have: this has to be there until then, too.
    """

    data: bytes
    needs: Needs | None = None
    sent: Sequence[Any] = ()


class Transport:
    """What the parent needs for the buffers of one pool.

    Parameters
    ----------
    memory : SharedMemory
        What the system offers.
    limit : int
        From so many bytes on a buffer goes in shared memory.
    keeping : Keeping
        Of the executor.
    """

    def __init__(self, memory: "SharedMemory", limit: int, keeping: Keeping) -> None:
        self._memory = memory
        self._limit = limit
        self._exchange: Exchange = memory.exchange()
        self._keeping = keeping

    @property
    def worker_end(self) -> WorkerEnd:
        """What a worker needs."""
        return WorkerEnd(self._exchange.sender, self._memory, self._limit)

    def close(self) -> None:
        """Let go, when there is no worker any more, of what they have sent."""
        self._exchange.close()

    def answer(self, question: Question) -> None:
        """Let a worker have the segment that it asks for."""
        self._exchange.answer(question.what, question.reply_to)

    def drop(self, orphans: Orphans) -> None:
        """Close what no result has."""
        for ticket in orphans.tickets:
            with contextlib.suppress(OSError):
                self._exchange.take(ticket).close()

    def pack(self, call: Any, number: int) -> Packed:
        """Return a task of that number as it is sent."""
        needs = Needs()
        # What is copied from here on is not for what is submitted from here on.
        latest = self._keeping.latest
        pickled = pickle_buffers(call, self._limit, lambda owner: self._keeping.find(owner, number, needs))
        small = pickled.small()
        if small is not None:
            return Packed(small)
        try:
            message, shared = pickled.share(self._memory)
        except OSError:  # no memory, or too many files
            return Packed(pickle_whole(call))
        for each in shared:
            needs.add(each)
        for large, place in zip(pickled.large, message.buffers, strict=True):
            if large.copy is None:
                self._keeping.keep(large.owner, latest, Copy(shared[place.segment], place.start, place.stop))
        self._keeping.prune(number)
        message = message._replace(segments=[each.segment.address for each in shared])
        return Packed(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), needs)

    def take(self, message: Message) -> Any:
        """Return a worker's result."""
        with closing([self._exchange.take(ticket) for ticket in message.segments]) as segments:
            return load(message, segments, map_buffers(message, segments))
