"""A worker's end."""

import contextlib
import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .message import Message, Orphans, Question
from .pickling import find_nothing, pickle_buffers, pickle_whole
from .unpickling import closing, load, map_buffers

if TYPE_CHECKING:
    from ..._system.protocols import Segment, Sender, SharedMemory


class WorkerEnd:
    """What a worker needs. It can be pickled while the process starts."""

    def __init__(self, sender: "Sender", memory: "SharedMemory", limit: int) -> None:
        self._sender = sender
        self._memory = memory
        self._limit = limit
        self._put: Callable[[Question | Orphans], None]

    def connect(self, put: Callable[[Question | Orphans], None]) -> None:
        """Use it in this process from now on, and tell the parent with this."""
        self._put = put

    def open(self, address: Any) -> "Segment":
        """Return a segment of the parent's."""
        try:
            return self._memory.open(address)
        except OSError:
            return self._sender.ask(address, lambda *question: self._put(Question(*question)))

    def load(self, message: Message) -> Any:
        """Return a task.

        Raises
        ------
        OSError
            If this process cannot open or map what its parent has.
        """
        with contextlib.ExitStack() as stack:
            try:
                segments = [self.open(address) for address in message.segments]
                stack.enter_context(closing(segments))
                buffers = map_buffers(message, segments)
            except OSError as error:
                error.add_note("This worker cannot open its parent's shared memory. Pass share_min_size=None.")
                raise
            return load(message, segments, buffers)

    def pack(self, answer: Any) -> bytes:
        """Return what to send."""
        pickled = pickle_buffers(answer, self._limit, find_nothing)
        small = pickled.small()
        if small is not None:
            return small
        tickets: list[Any] = []
        try:
            message, shared = pickled.share(self._memory)
            tickets.extend(self._sender.send(each.segment) for each in shared)
        except OSError:  # no memory, too many files, or a parent that takes nothing
            if tickets:
                self._put(Orphans(tickets))
            return pickle_whole(answer)
        return pickle.dumps(message._replace(segments=tickets), pickle.HIGHEST_PROTOCOL)
