"""Pauses a thread pool: running tasks continue, and no other begins.

A pool that may be paused has a :class:`_Held` in front of its queue. During a pause, new tasks stay there. Workers
always wait at the real queue. A pool without conditions that was never paused has the stdlib's queue, or its gate.
"""

import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._exits import call_at_exit
from .._forks import Living
from .._pausing import PAUSE, Reasons
from .gate import take_tasks

# Seconds between two checks for cancelled tasks.
_LOOK_UP_S: Final = 0.2


class _Held:
    """A queue that may keep tasks; workers take items from the `real` queue.

    A None tells a worker to end, and each worker puts it back for the others. It follows all tasks, so it stays here
    while tasks do: workers that end would leave these tasks behind.
    """

    def __init__(self, real: Any, lock: threading.RLock) -> None:
        self.real = real
        self.get, self.get_nowait, self.empty = real.get, real.get_nowait, real.empty
        self.unfinished = getattr(real, "unfinished", None)
        self.is_open = True
        self._lock = lock
        self._tasks: deque[Any] = deque()
        self._ends = 0

    def __len__(self) -> int:
        """Return how many tasks stay here."""
        return len(self._tasks)

    def is_done(self) -> bool:
        """Return whether no task that stays here is waiting: some may have been cancelled."""
        return all(each.future.cancelled() for each in self._tasks)

    def qsize(self) -> int:
        return len(self._tasks) + self._ends + int(self.real.qsize())

    def put(self, item: Any) -> None:
        with self._lock:
            if not self.is_open and hasattr(item, "future"):
                self._tasks.append(item)
                if self.unfinished is not None:
                    self.real.note(item)
            elif item is None and self._tasks:
                self._ends += 1
            else:
                self.real.put(item)

    def close(self) -> None:
        """Keep the tasks of the real queue, and new ones."""
        with self._lock:
            if self.is_open:
                self.is_open = False
                others: list[Any] = []
                self._tasks.extend(take_tasks(self.real, others.append))
                for item in others:
                    self.put(item)

    def release(self, count: int) -> int:
        """Move up to `count` tasks to the real queue; return how many."""
        with self._lock:
            count = min(count, len(self._tasks))
            for _ in range(count):
                self.real.put(self._tasks.popleft())
            if not self._tasks:
                for _ in range(self._ends):
                    self.real.put(None)
                self._ends = 0
            return count

    def take_all(self) -> list[Any]:
        """Remove and return all tasks, also those of the real queue."""
        with self._lock:
            tasks = [*take_tasks(self.real), *self._tasks]
            self._tasks.clear()
            self.release(0)
            return tasks


class Pausing:
    """Whether a thread pool is paused, and for which reasons."""

    accepts = True  # the user may pause the pool: not at the interpreter's exit

    def __init__(self, executor: Any) -> None:
        self.reasons = Reasons()
        self._executor: Callable[[], Any] = weakref.ref(executor)  # not kept alive
        # Held while the state changes, and while threads are started, so that there are not too many.
        self.lock = threading.RLock()
        self.unstarted = 0  # number of tasks submitted during the pause: no thread has been started for them
        self._news = threading.Condition(self.lock)
        self._held = _Held(executor._work_queue, self.lock)  # noqa: SLF001
        _all.add(self)

    @property
    def is_closed(self) -> bool:
        """Whether no task may begin."""
        return not self._held.is_open

    def install(self, executor: Any) -> None:
        """Put the queue of this object in front of the executor's queue."""
        executor._work_queue = self._held  # noqa: SLF001

    def pause(self, reason: str, leave: int = 0) -> None:
        """Add a reason: no task begins while `leave` tasks run."""
        with self.lock:
            executor = self._executor()
            if executor is None:
                return
            self.install(executor)
            # `shutdown` sets `_shutdown` before it uses the queue.
            if reason == PAUSE and (executor._shutdown or not self.accepts):  # noqa: SLF001
                return
            self.reasons.add(reason, leave)
            self._held.close()
            running = executor._count_tasks()[1] + self._held.real.qsize()  # noqa: SLF001
            self._begin(executor, max((self.reasons.left or 0) - running, 0))

    def resume(self, reason: str) -> None:
        """Remove a reason; let tasks begin if there is no other one."""
        with self.lock:
            executor = self._executor()
            if self.reasons.remove(reason) and self.reasons.left is None and executor is not None:
                self.open(executor)

    def open(self, executor: Any) -> None:
        """Let all tasks begin."""
        with self.lock:
            self.reasons.clear()
            self._held.is_open = True
            self._begin(executor, len(self._held))

    def detach(self, executor: Any) -> None:
        """Let all tasks begin, and pause no more, because the executor is being deleted."""
        with self.lock:
            self._executor = lambda: None
            self.open(executor)

    def _begin(self, executor: Any, count: int) -> None:
        """Let up to `count` tasks begin; the caller holds the lock."""
        released = self._held.release(count)
        starting = max(self.unstarted - len(self._held), 0)
        self.unstarted -= starting
        if released or starting:
            executor._start_threads(starting)  # noqa: SLF001
        self._news.notify_all()

    def take_all(self) -> list[Any]:
        """Remove and return all tasks that have not begun."""
        with self.lock:
            self.unstarted = 0
            return self._held.take_all()

    def finish(self, executor: Any) -> None:
        """Wait until all tasks that have been submitted may begin."""
        with self.lock:
            # A task that is cancelled says nothing to this object.
            while not self._news.wait_for(self._held.is_done, _LOOK_UP_S):
                pass
            self.open(executor)

    def __str__(self) -> str:
        return repr(self._executor())

    def has_work(self) -> bool:
        """Return whether there are tasks."""
        executor = self._executor()
        return executor is not None and any(executor._count_tasks())  # noqa: SLF001

    def pids(self) -> list[int]:
        """Return an empty list: the workers are not processes."""
        return []


_all: Final[Living[Pausing]] = Living()


def _resume_all() -> None:
    """End the user's pauses, and wait for those of conditions; the interpreter's exit waits for the tasks."""
    Pausing.accepts = False
    for pausing in _all:
        pausing.resume(PAUSE)
    for pausing in _all:
        executor = pausing._executor()  # noqa: SLF001
        if executor is not None:
            pausing.finish(executor)


call_at_exit(_resume_all)
_all.forget_in_children()
