"""Keeps data in the parent that were pickled for one task, and that other pending tasks may use as well.

A task may have the content that an object had at the time of the submit, or later, as if each task were pickled by
itself, but never an older content. So tasks are numbered, and data that are pickled now are for tasks that have been
submitted by now. The data are kept until a later task is pickled, or no task is left.
"""

import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from ..._system.protocols import Segment

# Limits of the kept segments, and of their bytes: a list of arrays, each of which goes to one task, must not be in
# memory twice.
_MOST_KEPT: Final = 16
_MOST_KEPT_BYTES: Final = 2**29


class Shared:
    """A segment with several users: the last of them closes it.

    The segment is not closed by the end of its last reference, because without the GIL this may be much later: when the
    thread that made the object runs next (PEP 703).
    """

    __slots__ = ("_lock", "_needs", "segment", "size")

    def __init__(self, segment: "Segment", size: int) -> None:
        self.segment = segment
        self.size = size
        self._needs = 0
        self._lock = threading.Lock()

    def need(self) -> None:
        """Add a user, for whom the segment stays open."""
        with self._lock:
            self._needs += 1

    def leave(self) -> None:
        """Remove a user; after the last one, close the segment."""
        with self._lock:
            self._needs -= 1
            last = not self._needs
        if last:
            self.segment.close()


class Needs:
    """The segments that a task needs until it is done."""

    __slots__ = ("shared",)

    def __init__(self) -> None:
        self.shared: list[Shared] = []

    def add(self, shared: Shared) -> None:
        """Keep one more segment open."""
        shared.need()
        self.shared.append(shared)

    def join(self, other: "Needs") -> None:
        """Take over the segments of another task."""
        taken, other.shared = other.shared, []
        for each in taken:
            if each in self.shared:
                each.leave()
            else:
                self.shared.append(each)

    def end(self) -> None:
        """Release all segments."""
        shared, self.shared = self.shared, []
        for each in shared:
            each.leave()

    __del__ = end


class Copy(NamedTuple):
    """A copy of an object's buffer: the bytes from `start` to `stop` of a segment."""

    shared: Shared
    start: int
    stop: int


class _Kept(NamedTuple):
    """A Copy or a Once (`what`) that is sent in place of an object, in tasks up to a number."""

    owner: "weakref.ref[Any]"
    number: int
    what: Any

    def leave(self) -> None:
        if type(self.what) is Copy:
            self.what.shared.leave()


class Keeping:
    """The data kept for the tasks of an executor; `latest` is the number of the last submitted task."""

    def __init__(self) -> None:
        self.latest = 0
        self._lock = threading.Lock()  # no code of the user runs while it is held
        self._kept: dict[int, _Kept] = {}  # by the object's id; the last used one is the last

    def submitted(self) -> int:
        """Return the number of a new task."""
        with self._lock:
            self.latest += 1
            return self.latest

    def find(self, owner: Any, number: int, needs: Needs | None = None) -> Any:
        """Return the Copy or Once of an object for a task, or None; add the segment of a Copy to `needs`."""
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
        """Keep a Copy or a Once of an object, for tasks up to a number."""
        try:
            kept = _Kept(weakref.ref(owner), number, what)
        except TypeError:  # no weak reference: its id may belong to another object later
            return
        if type(what) is Copy:
            what.shared.need()
        with self._lock:
            replaced = self._kept.pop(id(owner), None)
            self._kept[id(owner)] = kept
        if replaced is not None:
            replaced.leave()

    def prune(self, number: int) -> None:
        """Drop data that no task from this number on may use, data of objects that are gone, and data above a limit."""
        if not self._kept:
            return
        left: list[_Kept] = []
        with self._lock:
            room, segments = _MOST_KEPT_BYTES, set[Shared]()
            for key, kept in reversed(list(self._kept.items())):
                is_copy = type(kept.what) is Copy
                if is_copy and kept.what.shared not in segments:
                    segments.add(kept.what.shared)
                    room -= kept.what.shared.size
                is_too_much = is_copy and (room < 0 or len(segments) > _MOST_KEPT)
                if is_too_much or kept.number < number or kept.owner() is None:
                    left.append(self._kept.pop(key))
        for kept in left:
            kept.leave()

    def clear(self) -> None:
        """Drop all data."""
        with self._lock:
            left = list(self._kept.values())
            self._kept.clear()
        for kept in left:
            kept.leave()
