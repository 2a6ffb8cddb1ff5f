"""The reasons for which a pool is paused, and tasks that must not be paused."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from ._public import public

# The reason of `executor.pause()`. The others are names of conditions.
PAUSE: Final = "pause"


class Reasons:
    """Reasons for a pause, each with the number of tasks that may continue. The lowest number counts."""

    def __init__(self) -> None:
        self._all: dict[str, int] = {}

    @property
    def left(self) -> int | None:
        """How many tasks may continue; None: all."""
        return min(list(self._all.values()), default=None) if self._all else None

    def add(self, reason: str, leave: int = 0) -> None:
        """Add a reason; `leave` tasks continue."""
        self._all[reason] = leave

    def remove(self, reason: str) -> bool:
        """Remove a reason; return whether it was there."""
        return self._all.pop(reason, None) is not None

    def clear(self) -> None:
        """Remove all reasons."""
        self._all.clear()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._all))


class Pausable(Protocol):
    """The workers of an executor, as `pause` and the thread that watches conditions use them."""

    reasons: Reasons

    def pause(self, reason: str, leave: int = 0) -> None:
        """Add a reason, and pause all tasks but `leave`."""

    def resume(self, reason: str) -> None:
        """Remove a reason; continue the tasks if there is no other one."""

    def has_work(self) -> bool:
        """Return whether there are tasks."""

    def pids(self) -> list[int]:
        """Return the ids of the worker processes."""


# --- in a worker process


class _Here:
    """State of the worker that runs in this process."""

    pid = 0  # the worker's: a process that a task forks is not a worker
    # Forbids that the process is paused during a block, or allows it again.
    hold: Callable[[object, bool], None] | None = None


_here: Final = _Here()


def hold_with(hold: Callable[[object, bool], None]) -> None:
    """Set the function by which this worker tells its parent that it must not be paused."""
    _here.hold, _here.pid = hold, os.getpid()


@public
@contextlib.contextmanager
def no_pause() -> Iterator[None]:
    """Context manager for tasks that hold a resource that others wait for, such as a lock of a file or a database.

    A pause of the process pool waits for the end of this block before it stops the worker. If the pool is paused when
    the block begins, the block waits. Elsewhere, for example in a worker thread, it does nothing: tasks of threads are
    not stopped.

    Raises
    ------
    RuntimeError
        If a thread of a worker process enters the block while the worker has no task.

    Examples
    --------
    >>> from nicefutures import no_pause
    >>> with no_pause():  # other programs that use the database never wait for a paused task
    ...     result = "written"
    """
    hold = _here.hold if _here.pid == os.getpid() else None
    if hold is None:
        yield
        return
    block = object()
    try:
        hold(block, True)
        yield
    finally:
        hold(block, False)
