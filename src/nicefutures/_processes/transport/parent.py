"""The parent's end."""

import contextlib
import pickle
import threading
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..message import Question
from .keeping import Epoch, Epochs, Kept, KeptSegments, Needs, Shared, Snapshot
from .message import Message, Place
from .pickling import Large, pickle_buffers, pickle_plain, pickle_whole
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
    epochs : Epochs
        Those of the executor.
    """

    def __init__(self, memory: "SharedMemory", limit: int, epochs: Epochs) -> None:
        self._memory = memory
        self._limit = limit
        self._exchange: Exchange = memory.exchange()
        self._epochs = epochs
        # Held by who takes a snapshot, until others can find it: they wait, and do not take another of the same.
        self._lock = threading.Lock()
        # By the owner's id.
        self._snapshots: weakref.WeakValueDictionary[int, Snapshot] = weakref.WeakValueDictionary()
        self._kept = KeptSegments()

    @property
    def worker_end(self) -> WorkerEnd:
        """What a worker needs."""
        return WorkerEnd(self._exchange.sender, self._memory, self._limit)

    def close(self) -> None:
        """Let go, when there is no worker any more, of what they have sent, and of what is kept for them."""
        self._exchange.close()
        self._kept.drop()

    def answer(self, question: Question) -> None:
        """Let a worker have the segment that it asks for."""
        self._exchange.answer(question.what, question.reply_to)

    def pack(self, call: Any, epoch: Epoch) -> Packed:
        """Return a task as it is sent; `epoch` is when it was submitted."""
        plain = pickle_plain(call)
        if plain is not None:
            return Packed(plain)
        needs = Needs()
        begun: list[Epoch] = []
        with contextlib.ExitStack() as stack:

            def find(owner: Any) -> Snapshot | None:
                if not begun:
                    stack.enter_context(self._lock)
                    # What is large may be copied from here on: what is submitted from here on must not have that.
                    begun.append(self._epochs.begin())
                return self._find(epoch, owner)

            pickled = pickle_buffers(call, self._limit, find)
            small = pickled.small()
            if small is not None:
                return Packed(small)
            try:
                message, shared = pickled.share(self._memory)
            except OSError:  # no memory, or too many files
                return Packed(pickle_whole(call))
            for each in shared:
                needs.add(each)
            self._remember(pickled.large, message.buffers, shared, begun)
        message = message._replace(segments=[each.segment.address for each in shared])
        return Packed(pickle.dumps(message, pickle.HIGHEST_PROTOCOL), needs)

    def _find(self, epoch: Epoch, owner: Any) -> Snapshot | None:
        snapshot = self._snapshots.get(id(owner))
        if snapshot is None or snapshot.epoch < epoch.number or snapshot.owner() is not owner:
            return None
        return snapshot if snapshot.kept.shared is not None else None

    def _remember(self, large: list[Large], places: list[Place], shared: list[Shared], begun: list[Epoch]) -> None:
        """Keep the new snapshots for further tasks, and let go of others that are too much."""
        kept = {id(each.snapshot.kept): each.snapshot.kept for each in large if each.snapshot is not None}
        new: dict[int, Kept] = {}
        for each, place in zip(large, places, strict=True):
            if each.snapshot is None:
                if place.segment not in new:
                    new[place.segment] = Kept(shared[place.segment])
                self._take_snapshot(each.owner, begun[0], new[place.segment], place)
        self._kept.use([*kept.values(), *new.values()])

    def _take_snapshot(self, owner: Any, epoch: Epoch, kept: Kept, place: Place) -> None:
        try:
            reference = weakref.ref(owner)
        except TypeError:  # it may not be the same at the next look
            return
        snapshot = Snapshot(reference, epoch.number, kept, place.start, place.stop)
        epoch.snapshots.append(snapshot)
        self._snapshots[id(owner)] = snapshot

    def take(self, message: Message) -> Any:
        """Return a worker's result."""
        with closing([self._exchange.take(ticket) for ticket in message.segments]) as segments:
            return load(message, segments, map_buffers(message, segments))
