"""The parent's end of the transport."""

import contextlib
import pickle
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .keeping import Copy, Keeping, Needs
from .message import Message, Orphans, Place, Question, load
from .pickling import Large, pickle_buffers, pickle_whole
from .worker import WorkerEnd

if TYPE_CHECKING:
    from ..._system.protocols import Exchange, SharedMemory


class Packed(NamedTuple):
    """A task as it is sent. The segments (`needs`) and the objects by value (`sent`) must exist until it is done."""

    data: bytes
    needs: Needs | None = None
    sent: Sequence[Any] = ()
    calls: int | None = None  # of a chunk: how many of its calls these are


class Transport:
    """Sends and receives the large buffers of one pool, in the parent."""

    def __init__(self, memory: "SharedMemory", limit: int, keeping: Keeping) -> None:
        self._memory = memory
        self._limit = limit  # smallest size in bytes of a buffer that goes into shared memory
        self._exchange: Exchange = memory.exchange()
        self._keeping = keeping  # the executor's

    @property
    def worker_end(self) -> WorkerEnd:
        """The worker's end of the transport."""
        return WorkerEnd(self._exchange.sender, self._memory, self._limit)

    def close(self) -> None:
        """Release all segments that workers have sent; called after the last worker has ended."""
        self._exchange.close()

    def take_note(self, note: Question | Orphans) -> None:
        """Send a worker the segment that it asks for, or close segments that no result uses."""
        if isinstance(note, Question):
            self._exchange.answer(note.what, note.reply_to)
            return
        for ticket in note.tickets:
            with contextlib.suppress(OSError):
                self._exchange.take(ticket).close()

    def pack(self, call: Any, number: int) -> Packed:
        """Return the task with this number as it is sent."""
        needs: Needs | None = None

        def find(owner: Any) -> Copy | None:
            nonlocal needs
            needs = needs or Needs()
            return self._keeping.find(owner, number, needs)  # type: ignore[no-any-return]

        # Copies that are made from here on are not for tasks that are submitted from here on.
        latest = self._keeping.latest
        pickled = pickle_buffers(call, self._limit, find)
        if isinstance(pickled, bytes):
            return Packed(pickled)
        try:
            message, shared = pickled.share(self._memory)
        except OSError:  # no memory, or too many files
            return Packed(pickle_whole(call))
        needs = needs or Needs()
        for each in shared:
            needs.add(each)
        for buffer, place in zip(pickled.buffers, message.buffers, strict=True):
            if isinstance(buffer, Large) and isinstance(place, Place) and buffer.copy is None:
                self._keeping.keep(buffer.owner, latest, Copy(shared[place.segment], place.start, place.stop))
        self._keeping.prune(number)
        message = message._replace(segments=[each.segment.address for each in shared])
        return Packed(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), needs)

    def take(self, message: Message) -> Any:
        """Return a worker's result."""
        return load(message, [self._exchange.take(ticket) for ticket in message.segments])
