"""The parent's end."""

import contextlib
import pickle
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from ..channel import Question
from .keeping import Epoch, Kept, KeptSegments, Needs, Shared, Snapshot
from .message import Message, Place, register_taker
from .pickling import Large, Pickled, is_plain, pickle_whole
from .unpickling import closing, load, map_buffers
from .worker import WorkerEnd, load_call

if TYPE_CHECKING:
    from ..._system.protocols import Exchange, SharedMemory

# To iterate over these runs nobody's code.
_BUILT_IN: Final = frozenset({list, tuple, range})


class Call:
    """A task that pickles itself.

    Attributes
    ----------
    needs : Needs
        What its worker opens.
    """

    __slots__ = ("_call", "_epoch", "_transport", "needs")

    def __init__(self, transport: "Transport", call: tuple[Any, tuple[Any, ...], dict[str, Any]], epoch: Epoch) -> None:
        self._transport = transport
        self._call = call
        self._epoch: Epoch | None = epoch
        self.needs = Needs()

    def __reduce__(self) -> Any:
        epoch, self._epoch = self._epoch, None
        message = self._transport.pack(self._call, epoch, self.needs)
        return (pickle.loads, (message,)) if isinstance(message, bytes) else (load_call, (message,))


class _Here(threading.local):
    """What a thread that submits has fixed."""

    epoch: Epoch | None = None


class Transport:
    """What the parent needs for the buffers of one pool.

    Parameters
    ----------
    memory : SharedMemory
        What the system offers.
    limit : int
        From so many bytes on a buffer goes in shared memory.
    """

    def __init__(self, memory: "SharedMemory", limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._exchange: Exchange = memory.exchange()
        self._epoch = Epoch(0)
        self._here = _Here()
        # By the owner's id. Only the feeder thread takes snapshots.
        self._snapshots: weakref.WeakValueDictionary[int, Snapshot] = weakref.WeakValueDictionary()
        self._kept = KeptSegments()
        self._key = register_taker(self)

    @property
    def worker_end(self) -> WorkerEnd:
        """What a worker needs."""
        return WorkerEnd(self._exchange.sender, self._memory, self._key, self._limit)

    def close(self) -> None:
        """Let go, when there is no worker any more, of what they have sent, and of what is kept for them."""
        self._exchange.close()
        self._kept.drop()

    def answer(self, question: Question) -> None:
        """Let a worker have the segment that it asks for."""
        self._exchange.answer(question.what, question.reply_to)

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a task; one that cannot have anything large goes as it is."""
        if not kwargs and is_plain(fn) and is_plain(args):
            return fn, args, kwargs
        return Call(self, (fn, args, kwargs), self._here.epoch or self._epoch)

    @contextlib.contextmanager
    def at_one_time(self, iterables: tuple[Iterable[Any], ...]) -> Iterator[None]:
        """Let what this thread submits count as submitted now, if nobody's code runs in between."""
        if all(type(iterable) in _BUILT_IN for iterable in iterables):
            self._here.epoch = self._epoch
        try:
            yield
        finally:
            self._here.epoch = None

    def pack(self, call: Any, epoch: Epoch | None, needs: Needs) -> bytes | Message:
        """Return what to send."""
        begun: list[Epoch] = []

        def find(owner: Any) -> Snapshot | None:
            if not begun:
                # What is large may be copied from here on, and what is submitted from here on must not have that.
                begun.append(self._epoch)
                self._epoch = self._epoch.following = Epoch(self._epoch.number + 1)
            return self._find(epoch, owner)

        pickled = Pickled(call, self._limit, find)
        small = pickled.small()
        if small is not None:
            return small
        try:
            message, shared = pickled.share(self._memory)
        except OSError:  # no memory, or too many files
            return pickle_whole(call)
        for each in shared:
            needs.add(each)
        self._remember(pickled.large, message.buffers, shared, begun)
        return message._replace(segments=[each.segment.address for each in shared])

    def _find(self, epoch: Epoch | None, owner: Any) -> Snapshot | None:
        snapshot = self._snapshots.get(id(owner))
        if snapshot is None or epoch is None or snapshot.epoch < epoch.number or snapshot.owner() is not owner:
            return None
        return snapshot if snapshot.kept.shared is not None else None

    def _remember(self, large: list[Large], places: list[Place], shared: list[Shared], begun: list[Epoch]) -> None:
        """Keep the new snapshots for further tasks, and let go of others that are too much."""
        kept = {id(each.snapshot.kept): each.snapshot.kept for each in large if each.snapshot is not None}
        new = None
        for each, place in zip(large, places, strict=True):
            if each.snapshot is None:
                new = new or Kept(shared[0])
                self._take_snapshot(each.owner, begun[0], new, place)
        self._kept.use([*kept.values(), *([new] if new is not None else [])])

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
