"""A worker's end of the transport."""

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .message import Message, Orphans, Question, load
from .pickling import find_nothing, pickle_buffers, pickle_whole

if TYPE_CHECKING:
    from ..._system.protocols import Segment, Sender, SharedMemory


class WorkerEnd:
    """Sends and receives large buffers in a worker. It can be pickled while the process starts."""

    def __init__(self, sender: "Sender", memory: "SharedMemory", limit: int) -> None:
        self._sender = sender
        self._memory = memory
        self._limit = limit
        self._put: Callable[[Question | Orphans], None]

    def connect(self, put: Callable[[Question | Orphans], None]) -> None:
        """Begin in this process, with the function that sends notes to the parent."""
        self._put = put

    def open(self, address: Any) -> "Segment":
        """Return a segment of the parent; ask for it if this process cannot open it."""
        try:
            return self._memory.open(address)
        except OSError:
            return self._sender.ask(address, lambda *question: self._put(Question(*question)))

    def load(self, message: Message) -> Any:
        """Return the task of a message."""
        try:
            segments = [self.open(address) for address in message.segments]
        except OSError as error:
            error.add_note("This worker cannot open its parent's shared memory. Pass share_min_size=None.")
            raise
        return load(message, segments)

    def pack(self, answer: Any) -> tuple[bytes, bool]:
        """Return an answer as it is sent, and whether segments belong to it."""
        pickled = pickle_buffers(answer, self._limit, find_nothing)
        if isinstance(pickled, bytes):
            return pickled, False
        tickets: list[Any] = []
        try:
            message, shared = pickled.share(self._memory)
            tickets.extend(self._sender.send(each.segment) for each in shared)
        except OSError:  # no memory, too many files, or a parent that receives nothing
            if tickets:
                self._put(Orphans(tickets))
            return pickle_whole(answer), False
        return pickle.dumps(message._replace(segments=tickets), pickle.HIGHEST_PROTOCOL), True
