"""A worker's memory: how much a task may make it use, and what becomes of one that wants more."""

import sys
import traceback
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from .._levels import Shortfall
from .._system import backend

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Bytes that are given back when the memory has run out, so that what has to be done then has some.
_RESERVE: Final = 2 * 2**20
# There Python takes gigabytes for its objects at once, whether it needs them or not, and keeps what it has freed: what
# counts then is what a task takes beyond that.
_FREE_THREADED: Final = "free-threading" in sys.version


class TaskMemory:
    """A limit that is in force while a task runs.

    Arguments are on the way in before a task runs, and results on the way out after it. They are not limited: the
    stdlib's worker does not survive a MemoryError there, and the parent has or will have the same data.

    Parameters
    ----------
    limit : int
        Bytes.
    forked : bool
        Whether this process has what its parent has: they share that until one of them writes to it, so it does not
        count. Nor does what any process has reserved without touching it when a task starts, such as stacks, or the
        gigabyte that a free-threaded Python takes for its objects.
    """

    def __init__(self, limit: int, *, forked: bool) -> None:
        self._limit = limit
        self._unused = backend.memory.unused()
        self._inherited = backend.memory.in_use() - self._unused if forked else 0
        self._system = backend.memory.open_limit()
        self._reserve = bytearray(_RESERVE)

    def check(self) -> Shortfall | None:
        """Put the limit up and take it away; return what is missing."""
        self._system.hold(self._limit + self._uncounted())
        held = self._system.in_force()
        self._system.lift()
        return None if held else _shortfall(self._limit, "the system accepted the limit and does not report it")

    def run(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a task.

        Raises
        ------
        MemoryError
            If it wants more than there is. It is the task's own, with a note; the task's variables have been let go.
        """
        uncounted = self._uncounted()
        used = backend.memory.in_use() - uncounted
        if used > self._limit and not _FREE_THREADED:
            msg = (
                f"memory_limit is {self._limit:,} bytes, and the worker uses {used:,} before it starts this task: what "
                "it has imported, the arguments, and what earlier tasks have left"
            )
            raise MemoryError(msg)
        try:
            self._system.hold(self._limit + uncounted)
            try:
                return fn(*args, **kwargs)
            except MemoryError:
                self._reserve = bytearray()
                raise
            finally:
                self._system.lift()
        except MemoryError as error:
            _let_go(error)
            error.add_note(f"memory_limit of this worker: {self._limit:,} bytes")
            raise
        finally:
            if not self._reserve:
                self._reserve = bytearray(_RESERVE)

    def _uncounted(self) -> int:
        unused = backend.memory.unused()
        # What is untouched later on may have been swapped out.
        return self._inherited + (unused if _FREE_THREADED else min(unused, self._unused))


def limit_tasks(limit: int, *, forked: bool) -> tuple[TaskMemory | None, Shortfall | None]:
    """Return a limit for this process's tasks, or what is missing."""
    try:
        memory = TaskMemory(limit, forked=forked)
        shortfall = memory.check()
    except (OSError, ValueError) as error:
        return None, _shortfall(limit, str(error))
    return memory, shortfall


def _shortfall(limit: int, reason: str) -> Shortfall:
    requested = f"memory_limit={limit:,} bytes"
    return Shortfall(requested, "no limit", reason, "Leave memory_limit out, or use fewer workers.")


def _let_go(error: BaseException) -> None:
    """Drop what the frames of a task that has failed hold: the traceback keeps them."""
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        each = pending.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        pending += [each.__context__, each.__cause__]
        traceback.clear_frames(each.__traceback__)
