"""What the parent keeps for further tasks: segments, and whose content is in them."""

import contextlib
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..._system.protocols import Segment

# To iterate over these runs nobody's code.
_BUILT_IN: Final = frozenset({list, tuple, range})
# Segments, and their bytes, that are kept for further tasks beside those that the latest one has.
_MOST_KEPT: Final = 16
_MOST_KEPT_BYTES: Final = 2**29


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

    def end(self) -> None:
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
    that may have it; and in the same way functions (`Once`).
    """

    __slots__ = ("following", "number", "snapshots")

    def __init__(self, number: int) -> None:
        self.number = number
        self.following: Epoch | None = None
        self.snapshots: list[Any] = []


class _Here(threading.local):
    """What a thread that submits has fixed."""

    epoch: Epoch | None = None


class Epochs:
    """The epochs of an executor."""

    def __init__(self) -> None:
        self._latest = Epoch(0)
        self._lock = threading.Lock()
        self._here = _Here()

    @property
    def now(self) -> Epoch:
        """When a task is submitted that is submitted now."""
        return self._here.epoch or self._latest

    def begin(self) -> Epoch:
        """Begin another one; return the one that ends."""
        with self._lock:
            ended = self._latest
            self._latest = ended.following = Epoch(ended.number + 1)
        return ended

    @contextlib.contextmanager
    def at_one_time(self, iterables: tuple[Iterable[Any], ...]) -> Iterator[None]:
        """Let what this thread submits count as submitted now, if nobody's code runs in between."""
        if all(type(iterable) in _BUILT_IN for iterable in iterables):
            self._here.epoch = self._latest
        try:
            yield
        finally:
            self._here.epoch = None
