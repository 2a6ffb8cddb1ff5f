"""Large buffers go between a pool's processes in shared memory; everything else as the stdlib sends it.

A task travels as one argument that pickles itself where the stdlib's feeder thread pickles what it sends: with
protocol 5, whose out-of-band buffers (PEP 574) are copied to shared memory without the GIL, if they are large. The
worker maps them, copy on write, so each task has an array of its own. Results come back the same way.

What is in the pickle itself and large (bytes, bytearray) is copied to shared memory, too, and from there by whoever
unpickles it, for these objects own their memory. When there is no memory, all of it goes into the pickle.
"""

import contextlib
import functools
import io
import itertools
import os
import pickle
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ._report import Question

if TYPE_CHECKING:
    from ._arrays import Copies
    from ._platform._sharing import Exchange, Segment, Sender, SharedMemory

# Buffers start at multiples of this many bytes, as NumPy's own do.
_ALIGNMENT: Final = 64
# A pickle is written in frames of 64 KiB; what is larger is one object.
_LEAST_PART: Final = 2**17
# These have no buffer; functions and classes are pickled by their names.
_ATOMS: Final = frozenset({type(None), bool, int, float, complex, type, types.FunctionType, types.BuiltinFunctionType})
# How much is looked at to find out that nothing can be shared: a call of `map` is (function, ((argument, ...),)).
_FEW: Final = 8
_DEPTH: Final = 4
_SHORT: Final = 2**14
# Bytes that are copied at once with the GIL held: a tenth of a millisecond.
_PIECE: Final = 2**20
# What is smaller is copied and not mapped, for a mapping takes whole pages.
_LEAST_MAPPED: Final = 2**16
# Segments, and their bytes, that are kept for further tasks beside those that the latest one has.
_MOST_KEPT: Final = 16
_MOST_KEPT_BYTES: Final = 2**29
# To iterate over these runs nobody's code.
_BUILT_IN: Final = frozenset({list, tuple, range})


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


class Shared:
    """A segment that several need: the last of them closes it.

    That does not wait until the last reference goes, for without the GIL this may be much later: when the thread that
    made the object runs next (PEP 703).

    Attributes
    ----------
    segment : Segment
        Open as long as it is needed.
    size : int
        In bytes.
    """

    __slots__ = ("_lock", "_needs", "segment", "size")

    def __init__(self, segment: "Segment", size: int) -> None:
        self.segment = segment
        self.size = size
        self._needs = 0
        self._lock = threading.Lock()

    def need(self) -> None:
        """Keep it open."""
        with self._lock:
            self._needs += 1

    def leave(self) -> None:
        """Do not need it any more."""
        with self._lock:
            self._needs -= 1
            last = not self._needs
        if last:
            self.segment.close()


class Needs:
    """What a task needs until it is done."""

    __slots__ = ("_shared",)

    def __init__(self) -> None:
        self._shared: list[Shared] = []

    def add(self, shared: Shared) -> None:
        """Keep one more open."""
        shared.need()
        self._shared.append(shared)

    def end(self, task: object = None) -> None:  # noqa: ARG002, a task's callback
        """Leave all of it."""
        shared, self._shared = self._shared, []
        for each in shared:
            each.leave()

    __del__ = end


class Kept:
    """What is kept for further tasks; `shared` is None when it is not any more."""

    __slots__ = ("__weakref__", "shared")

    def __init__(self, shared: Shared) -> None:
        shared.need()
        self.shared: Shared | None = shared

    def drop(self) -> None:
        """Keep it no longer."""
        shared, self.shared = self.shared, None
        if shared is not None:
            shared.leave()

    __del__ = drop


class KeptSegments:
    """What is kept for further tasks, for as long as there are snapshots in it: not too much of it.

    A list of arrays, each of which goes to one task, must not be in the memory twice. What the latest task has is
    there anyway; of the rest, what was used last is kept.
    """

    def __init__(self) -> None:
        self._used: list[weakref.ref[Kept]] = []

    def use(self, latest: list[Kept]) -> None:
        """Take note of what the latest task has."""
        rest = [kept for reference in self._used if (kept := reference()) is not None and kept not in latest]
        while len(rest) > _MOST_KEPT or sum(_size_of(kept) for kept in rest) > _MOST_KEPT_BYTES:
            rest.pop(0).drop()
        self._used = [weakref.ref(kept) for kept in (*rest, *latest)]

    def drop(self) -> None:
        """Keep nothing any more."""
        for reference in self._used:
            kept = reference()
            if kept is not None:
                kept.drop()


def _size_of(kept: Kept) -> int:
    return kept.shared.size if kept.shared is not None else 0


class Snapshot:
    """The content that an object's buffer had at some time.

    Attributes
    ----------
    owner : weakref.ref
        The object.
    epoch : int
        Of the epochs whose tasks may have this content, the last.
    kept : Kept
        Where it is.
    start, stop : int
        Where in there.
    """

    __slots__ = ("__weakref__", "epoch", "kept", "owner", "start", "stop")

    def __init__(self, owner: weakref.ref[Any], epoch: int, kept: Kept, start: int, stop: int) -> None:
        self.owner = owner
        self.epoch = epoch
        self.kept = kept
        self.start = start
        self.stop = stop


class Epoch:
    """The time from one snapshot to the next.

    What is submitted meanwhile may have what a buffer contains later on, as it may where each task is pickled for
    itself; never what it contained before. This chain keeps a snapshot for as long as there is a task to be pickled
    that may have it.
    """

    __slots__ = ("following", "number", "snapshots")

    def __init__(self, number: int) -> None:
        self.number = number
        self.following: Epoch | None = None
        self.snapshots: list[Snapshot] = []


# --- to pickle


def _is_plain(obj: Any, depth: int = _DEPTH) -> bool:
    """Return whether an object is small and has no buffers; False as well if that takes time to find out."""
    kind = type(obj)
    if kind in _ATOMS:
        return True
    if kind is str or kind is bytes:
        return len(obj) < _SHORT
    if kind is tuple or kind is list:
        return depth > 0 and len(obj) <= _FEW and all(_is_plain(each, depth - 1) for each in obj)
    if kind is functools.partial:
        return not obj.keywords and _is_plain((obj.func, *obj.args), depth - 1)
    return False


class _Pickler(pickle.Pickler):
    """What multiprocessing pickles with, and out-of-band buffers."""

    # Refers to the reducers that are registered with multiprocessing, those included that will be.
    dispatch_table = ForkingPickler(io.BytesIO()).dispatch_table


class _ArrayPickler(_Pickler):
    """The same where there is NumPy."""

    pickled: "_Pickled"

    def reducer_override(self, obj: Any) -> Any:
        # Not isinstance, which would ask proxies what they stand for.
        if not issubclass(type(obj), self.pickled.ndarray) or obj.nbytes < self.pickled.limit:
            return NotImplemented
        if type(obj) in self.dispatch_table:
            return NotImplemented
        from ._arrays import reduce_array

        return reduce_array(obj, self.pickled.copies())


class _Pieces:
    """A bytearray's content, copied piece by piece: the GIL is not held for long, and the owner may resize it after."""

    def __init__(self, content: bytearray) -> None:
        self.pieces = [content[start : start + _PIECE] for start in range(0, len(content), _PIECE)]
        self._size = sum(map(len, self.pieces))

    def __len__(self) -> int:
        return self._size


class _File:
    """What a pickler writes to. What is large it writes as the object that it is: bytes without a copy."""

    def __init__(self, parts: list[Any]) -> None:
        self._parts = parts

    def write(self, part: Any) -> None:
        if isinstance(part, bytearray):
            part = _Pieces(part)
            # Its size was written before (BYTEARRAY8, pickletools), and other threads may have changed it since then.
            self._parts[-1] = self._parts[-1][:-8] + len(part).to_bytes(8, "little")
        self._parts.append(part if isinstance(part, bytes | _Pieces) else pickle.PickleBuffer(part).raw())


class _Large(NamedTuple):
    """A large buffer: whose it is, what is in it, and where that is already."""

    owner: Any
    content: memoryview
    snapshot: Snapshot | None


class _Pickled:
    """A pickle and its large buffers, in this process's memory.

    Parameters
    ----------
    obj : Any
        What to pickle.
    limit : int
        From so many bytes on a buffer is out of band.
    find : callable
        Returns the snapshot that may be taken for an object's buffer, if there is one.
    """

    def __init__(self, obj: Any, limit: int, find: Callable[[Any], Snapshot | None]) -> None:
        self.parts: list[Any] = []
        self.large: list[_Large] = []
        self.limit = limit
        # None as well while another thread imports NumPy.
        self.ndarray: Any = getattr(sys.modules.get("numpy"), "ndarray", None)
        self._find = find
        self._known: dict[int, Snapshot] = {}  # keeps them
        self._copies: Copies | None = None
        try:
            self._dump(obj)
        finally:
            self._copies = None  # a cycle: what is large shall go without the garbage collector

    def _dump(self, obj: Any) -> None:
        file = _File(self.parts)
        if self.ndarray is None:
            _Pickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=self._keep).dump(obj)
            return
        pickler = _ArrayPickler(file, pickle.HIGHEST_PROTOCOL, buffer_callback=self._keep)
        pickler.pickled = self
        pickler.dump(obj)

    def copies(self) -> "Copies":
        """Return the copies of arrays that are sent in their place."""
        from ._arrays import Copies

        if self._copies is None:
            self._copies = Copies(self._is_known)
        return self._copies

    def small(self) -> bytes | None:
        """Return the pickle, if there is nothing to share."""
        if self.large or any(map(self._is_large, self.parts)):
            return None
        return self.parts[0] if len(self.parts) == 1 else _join(self.parts)

    def _is_large(self, part: Any) -> bool:
        return len(part) >= _LEAST_PART and len(part) >= self.limit

    def _is_known(self, owner: Any) -> bool:
        snapshot = self._find(owner)
        if snapshot is not None:
            self._known[id(owner)] = snapshot
        return snapshot is not None

    def _keep(self, buffer: pickle.PickleBuffer) -> bool:
        """Return whether a buffer shall be in the pickle."""
        content = buffer.raw()
        if content.nbytes < self.limit and self._copies is None:
            return True
        exporter = memoryview(buffer).obj
        owner = exporter if self._copies is None else self._copies.original(exporter)
        if content.nbytes < self.limit and owner is exporter:
            return True
        if id(owner) not in self._known:
            self._is_known(owner)
        snapshot = self._known.get(id(owner))
        if snapshot is not None and owner is exporter and snapshot.stop - snapshot.start != content.nbytes:
            snapshot = None  # a part of it
        self.large.append(_Large(owner, content, snapshot))
        return False

    def share(self, memory: "SharedMemory") -> tuple[Message, list[Shared]]:
        """Copy to a new segment what is large and not yet in one.

        Returns
        -------
        message : Message
            Without the segments' addresses.
        shared : list of Shared
            All that it needs, the new one first.
        """
        copied: list[tuple[int, memoryview]] = []
        shared: list[Any] = [None]
        end = 0

        def place(pieces: Iterable[Any]) -> Place:
            nonlocal end
            start = stop = end
            for piece in pieces:
                content = memoryview(piece)
                copied.append((stop, content))
                stop += content.nbytes
            end = -(-stop // _ALIGNMENT) * _ALIGNMENT
            return Place(0, start, stop)

        def find(large: _Large) -> Place:
            snapshot = large.snapshot
            if snapshot is None:
                return place([large.content])
            if snapshot.kept.shared not in shared:
                shared.append(snapshot.kept.shared)
            return Place(shared.index(snapshot.kept.shared), snapshot.start, snapshot.stop)

        parts: list[bytes | Place] = []
        for is_large, run in itertools.groupby(self.parts, self._is_large):
            if is_large:
                parts += [place(_pieces_of(part)) for part in run]
            else:
                parts.append(_join(run))
        places = [find(large) for large in self.large]
        if copied:
            segment = memory.create(end)
            for start, content in copied:
                segment.write(content, start)
            shared[0] = Shared(segment, end)
        else:
            del shared[0]
            places = [each._replace(segment=each.segment - 1) for each in places]
        return Message(parts, places, []), shared


def _pieces_of(part: bytes | memoryview | _Pieces) -> Iterable[Any]:
    return part.pieces if isinstance(part, _Pieces) else [part]


def _join(parts: Iterable[bytes | memoryview | _Pieces]) -> bytes:
    return b"".join(itertools.chain.from_iterable(map(_pieces_of, parts)))


def pickle_whole(obj: Any) -> bytes:
    """Return a pickle with everything in it."""
    parts: list[Any] = []
    _Pickler(_File(parts), pickle.HIGHEST_PROTOCOL).dump(obj)
    return _join(parts)


def _find_nothing(owner: Any) -> None:  # noqa: ARG001, a worker has sent nothing before
    return None


# --- to unpickle


def _map(message: Message, segments: list["Segment"]) -> list[memoryview]:
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


def _load(message: Message, segments: list["Segment"], buffers: list[memoryview]) -> Any:
    return pickle.Unpickler(_Reader(message.parts, segments), buffers=buffers).load()  # noqa: S301, from ourselves


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
def _closing(segments: list["Segment"]) -> Iterator[list["Segment"]]:
    try:
        yield segments
    finally:
        for segment in segments:
            segment.close()


# --- in the parent


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
        return (pickle.loads, (message,)) if isinstance(message, bytes) else (_load_call, (message,))


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
        self._key = next(_keys)
        self._epoch = Epoch(0)
        self._here = _Here()
        # By the owner's id. Only the feeder thread takes snapshots.
        self._snapshots: weakref.WeakValueDictionary[int, Snapshot] = weakref.WeakValueDictionary()
        self._kept = KeptSegments()
        _transports[self._key] = self

    @property
    def worker_end(self) -> "WorkerEnd":
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
        if not kwargs and _is_plain(fn) and _is_plain(args):
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

        pickled = _Pickled(call, self._limit, find)
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

    def _remember(self, large: list[_Large], places: list[Place], shared: list[Shared], begun: list[Epoch]) -> None:
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
        with _closing([self._exchange.take(ticket) for ticket in message.segments]) as segments:
            return _load(message, segments, _map(message, segments))


_keys: Final = itertools.count()
# While a task has no result, there is a `Call`, and so its transport.
_transports: Final[weakref.WeakValueDictionary[int, Transport]] = weakref.WeakValueDictionary()


def _load_result(key: int, message: Message) -> Any:
    return _transports[key].take(message)


# --- in a worker


class WorkerEnd:
    """What a worker needs. It can be pickled while the process starts."""

    def __init__(self, sender: "Sender", memory: "SharedMemory", key: int, limit: int) -> None:
        self._sender = sender
        self._memory = memory
        self._key = key
        self._limit = limit
        self._put: Callable[[Question], None]

    def connect(self, put: Callable[[Question], None]) -> None:
        """Use it in this process from now on, and put questions to the parent with this."""
        self._put = put
        _worker.end = self

    def open(self, address: Any) -> "Segment":
        """Return a segment of the parent's."""
        try:
            return self._memory.open(address)
        except OSError:
            return self._sender.ask(address, lambda *question: self._put(Question(*question)))

    def pack(self, value: Any) -> Any:
        """Return how a result is pickled."""
        pickled = _Pickled(value, self._limit, _find_nothing)
        small = pickled.small()
        if small is not None:
            return pickle.loads, (small,)
        try:
            message, shared = pickled.share(self._memory)
            tickets = [self._sender.send(each.segment) for each in shared]
        except ConnectionError:  # the parent is gone, and would never empty the pipe
            return type(None), ()
        except OSError:  # no memory, too many files, or a parent that takes nothing
            return pickle.loads, (pickle_whole(value),)
        return _load_result, (self._key, message._replace(segments=tickets))


class _Worker:
    end: WorkerEnd

    def forget(self) -> None:
        """Not be one: a process that a worker forks has another parent."""
        self.__dict__.pop("end", None)


_worker: Final = _Worker()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_worker.forget)


class Result:
    """A result that pickles itself."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> Any:
        return _pack(self._value)


def _pack(value: Any) -> Any:
    end: WorkerEnd | None = getattr(_worker, "end", None)
    return (pickle.loads, (pickle_whole(value),)) if end is None else end.pack(value)


def _load_call(message: Message) -> Any:
    with contextlib.ExitStack() as stack:
        try:
            segments = [_worker.end.open(address) for address in message.segments]
            stack.enter_context(_closing(segments))
            buffers = _map(message, segments)
        except OSError as error:
            # Here an error would end the worker, and with it the pool.
            return _fail, (error,), {}
        return _load(message, segments, buffers)


def _fail(error: OSError) -> None:
    error.add_note("This worker cannot use its parent's memory. Do without: share_over=None.")
    raise error


def run_call(call: Any) -> Any:
    """Run a task in a worker, where it is a tuple; what this returns or raises is what the task does."""
    fn, args, kwargs = call
    try:
        value = fn(*args, **kwargs)
    except BaseException as error:
        with contextlib.suppress(Exception):  # an exception that takes no attributes goes as it is
            if type(error) not in _Pickler.dispatch_table:
                BaseException.__setattr__(error, "__reduce_ex__", functools.partial(_reduce_exception, error))
        raise
    return value if isinstance(value, Result) or _is_plain(value) else Result(value)


def _reduce_exception(error: BaseException, protocol: int) -> Any:  # noqa: ARG001, as pickle calls it
    BaseException.__delattr__(error, "__reduce_ex__")
    return _pack(error)
