"""What the parent keeps for the tasks that wait: what was pickled for one of them, and that others may have as well.

A task may have the content that an object had when the task was submitted, or later on, as where each task is pickled
for itself; never an older one. So tasks are numbered, and what is pickled now is for those that have been submitted by
now. It is kept until a later one is pickled, or none is left.
"""

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from ..._system.protocols import Segment

# Segments, and their bytes, that are kept at most: a list of arrays, each of which goes to one task, must not be in the
# memory twice.
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


class Copy(NamedTuple):
    """The content that an object's buffer had: the bytes from `start` to `stop` of a segment."""

    shared: Shared
    start: int
    stop: int


class _Kept(NamedTuple):
    """What is kept of an object.

    Attributes
    ----------
    owner : weakref.ref
        The object.
    number : int
        Of the last task that may have it.
    what : Copy or Once
        How it goes to a worker.
    """

    owner: "weakref.ref[Any]"
    number: int
    what: Any


class Keeping:
    """What is kept for the tasks of an executor.

    Attributes
    ----------
    latest : int
        Number of the task that was submitted last.
    """

    def __init__(self) -> None:
        self.latest = 0
        self._lock = threading.Lock()  # nothing of the user's is called with it
        self._kept: dict[int, _Kept] = {}  # by the object's id; what was used last, last

    def submitted(self) -> int:
        """Return the number of a new task."""
        with self._lock:
            self.latest += 1
            return self.latest

    def find(self, owner: Any, number: int, needs: Needs | None = None) -> Any:
        """Return what is kept of an object for a task, and let the task need it; None: nothing."""
        with self._lock:
            kept = self._kept.pop(id(owner), None)
            if kept is None:
                return None
            self._kept[id(owner)] = kept
            if kept.number < number or kept.owner() is not owner:
                return None
            if needs is not None:
                needs.add(kept.what.shared)
            return kept.what

    def keep(self, owner: Any, number: int, what: Any) -> None:
        """Keep how an object goes to a worker, for tasks up to a number."""
        try:
            reference = weakref.ref(owner)
        except TypeError:  # it may not be the same at the next look
            return
        if type(what) is Copy:
            what.shared.need()
        with self._lock:
            replaced = self._kept.pop(id(owner), None)
            self._kept[id(owner)] = _Kept(reference, number, what)
        _leave([] if replaced is None else [replaced])

    def prune(self, number: int) -> None:
        """Keep nothing that no task from this number on may have, nor of what is gone, nor too much of the rest."""
        if not self._kept:
            return
        left: list[_Kept] = []
        with self._lock:
            room = _MOST_KEPT_BYTES
            segments: set[int] = set()
            for key, kept in reversed(list(self._kept.items())):
                is_copy = type(kept.what) is Copy
                if is_copy and id(kept.what.shared) not in segments:
                    segments.add(id(kept.what.shared))
                    room -= kept.what.shared.size
                if (
                    kept.number < number
                    or kept.owner() is None
                    or (is_copy and (room < 0 or len(segments) > _MOST_KEPT))
                ):
                    left.append(self._kept.pop(key))
        _leave(left)

    def clear(self) -> None:
        """Keep nothing."""
        with self._lock:
            left = list(self._kept.values())
            self._kept.clear()
        _leave(left)


def _leave(kept: list[_Kept]) -> None:
    for each in kept:
        if type(each.what) is Copy:
            each.what.shared.leave()
