"""The work queue of a thread pool that limits how many of its workers run tasks at a time.

The stdlib's executor, its futures and its worker loop stay as they are; its queue is replaced by a :class:`Gate`. A
worker that is one too many waits before it takes a task, never with a task in its hands. So tasks start in the order of
submission, and no result is held back. The workers inside the gate take one task after the other without a change of
threads.
"""

import contextlib
import functools
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Protocol

from .._levels import PriorityError, Shortfall

try:  # not the class that gevent and eventlet put into `queue`: their threads must not wait in C
    from _queue import SimpleQueue
except ImportError:
    from queue import SimpleQueue


# In the queue: the worker that takes it is to ask again whether it may be inside.
_COME_BACK: Final = object()


class Worker:
    """A worker thread of a pool.

    Attributes
    ----------
    ident, native_id : int
        The thread's, for Python and for the system.
    lifted : bool
        Whether it is at a higher level than its own.
    refusal : Shortfall or None
        Why its tasks fail: it is not at its level.
    at_end : callable or None
        Called in its thread when it is told to end.
    """

    __slots__ = ("at_end", "ident", "lifted", "native_id", "refusal")

    def __init__(self, refusal: Shortfall | None, at_end: Callable[[], None] | None) -> None:
        self.at_end = at_end
        self.ident = threading.get_ident()
        self.native_id = threading.get_native_id()
        self.refusal = refusal
        self.lifted = False


class Watch(Protocol):
    """Is told whether there are workers."""

    def begin(self) -> None:
        """Take notice of the first worker."""

    def end(self) -> None:
        """Take notice that the last worker has gone."""


class Gate(SimpleQueue[Any]):
    """A work queue that limits the workers enrolled with it; for other threads it is a plain queue.

    Attributes
    ----------
    width : int
        How many workers the pool may have.
    limit : int
        How many workers may be inside the gate: running a task, or waiting for one.
    regulator : Watch or None
        Is told of the first worker and of the last.
    taken_at : int
        When a task was taken last, in ns of `time.perf_counter_ns`.
    lifted : bool
        Whether workers should be at a higher level than their own, from their next task on.
    lift : callable or None
        Puts the calling worker there, or back; returns False if it cannot.
    """

    # Here, because a pool that a `__del__` shuts down at the interpreter's end no longer finds names of modules.
    _get_ident: Final = staticmethod(threading.get_ident)

    width = limit = taken_at = 0
    regulator: Watch | None = None
    lifted = False
    lift: Callable[[bool], bool] | None = None

    def __init__(self) -> None:
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin without workers, and with all of them allowed in."""
        self.limit, self.lifted = self.width, False
        # Reentrant, because the garbage collector may end a pool, also this one, at any point.
        self._lock = threading.RLock()
        self._new: dict[int, Worker] = {}
        self._workers: dict[int, Worker] = {}
        self._running: dict[int, Worker] = {}
        self._parked: list[threading.Lock] = []

    # --- for the workers

    def enroll(self, refusal: Shortfall | None, at_end: Callable[[], None] | None) -> None:
        """Let the calling thread be a worker, once it asks for its first task.

        Parameters
        ----------
        refusal : Shortfall or None
            Why all its tasks end with a PriorityError.
        at_end : callable or None
            Called in this thread when it is told to end; not later, when `threading` no longer knows the thread.
        """
        self._new[self._get_ident()] = Worker(refusal, at_end)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item, as `queue.SimpleQueue.get` does; a worker waits until it may take one."""
        while True:
            worker = self._come_back(parks=True)
            item = super().get(block, timeout)
            if item is not _COME_BACK:
                return self._take(worker, item)

    def get_nowait(self) -> Any:
        """Return the next item, or raise `queue.Empty`. A worker for which there is an item waits until it may take it.

        The stdlib's worker that finds nothing here counts as idle, and no thread is started for the next task. A worker
        that has to wait for its turn is not idle.
        """
        while True:
            worker = self._come_back(parks=not self.empty())
            item = super().get_nowait()
            if item is not _COME_BACK:
                return self._take(worker, item)

    def _come_back(self, parks: bool) -> Worker | None:
        """Return the worker that this thread is, once there is room for it; None for a thread that is not limited."""
        ident = self._get_ident()
        worker = self._workers.get(ident) or self._begin(ident)
        if worker is not None:
            self._running.pop(ident, None)
            if parks and self._inside > self.limit:
                self._park()
        return worker

    def _begin(self, ident: int) -> Worker | None:
        worker = self._new.pop(ident, None)
        if worker is not None:
            with self._lock:
                first = not self._workers
                self._workers[ident] = worker
            if first and self.regulator is not None:
                self.regulator.begin()
        return worker

    def _park(self) -> None:
        turn = threading.Lock()
        with self._lock:
            if self._inside <= self.limit:
                return
            self._parked.append(turn)
            turn.acquire()
        turn.acquire()  # `_admit` releases it

    def _take(self, worker: Worker | None, item: Any) -> Any:
        if worker is None:
            return item
        if item is None:
            self._leave(worker)
            return None
        self.taken_at = time.perf_counter_ns()
        self._running[worker.ident] = worker
        if worker.lifted is not self.lifted:
            self._lift(worker)
        return item if worker.refusal is None else _RefusedItem(item.future, worker.refusal)

    def _leave(self, worker: Worker) -> None:
        """Let a worker go that has been told to end, and another one in, which is to end as well."""
        with self._lock:
            self._workers.pop(worker.ident, None)
            last = not self._workers
            self._admit()
        if worker.at_end is not None:
            worker.at_end()
        if last and self.regulator is not None:
            self.regulator.end()

    def _lift(self, worker: Worker) -> None:
        lifted = self.lifted
        if self.lift is not None and self.lift(lifted):
            worker.lifted = lifted
        else:
            self.lift = None
            self.lifted = False

    # --- for the regulator

    @property
    def workers(self) -> list[Worker]:
        """All workers."""
        return list(self._workers.values())

    @property
    def running(self) -> list[Worker]:
        """The workers that run a task."""
        return list(self._running.values())

    @property
    def is_holding_back(self) -> bool:
        """Whether a worker waits outside the gate, and a task behind it."""
        return bool(self._parked) and not self.empty()

    def set_limit(self, limit: int) -> None:
        """Let in up to `limit` workers: more of them now, fewer of them when they come back for their next task."""
        with self._lock:
            self.limit = limit
            self._admit()
            # Those that wait inside for a task are to wait outside, so that they do not all take the next ones.
            for _ in range(self._inside - max(limit, len(self._running)) if self.empty() else 0):
                self.put(_COME_BACK)

    def let_in(self) -> None:
        """Let all workers in that wait now. The limit stays: it counts when they come back."""
        with self._lock:
            while self._parked:
                self._parked.pop().release()

    # --- with the lock held

    def _admit(self) -> None:
        while self._parked and self._inside < self.limit:
            self._parked.pop().release()  # the one that came last: its data are still in the caches

    @property
    def _inside(self) -> int:
        return len(self._workers) - len(self._parked)


class _RefusedItem:
    """A task that ends at once, because its worker is not at its level."""

    def __init__(self, future: Future[Any], refusal: Shortfall) -> None:
        self._future = future
        self._refusal = refusal

    def run(self, *_: object) -> None:
        """Run it, as the stdlib's worker does with its items."""
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(PriorityError(self._refusal))


# --- what is private in concurrent.futures, under the same names from Python 3.11 to 3.15


def are_green() -> bool:
    """Return whether gevent or eventlet has replaced Python's threads by its own, which the system does not know."""
    return queue.SimpleQueue is not SimpleQueue


def put_before(executor: ThreadPoolExecutor, gate: Gate) -> bool:
    """Make `gate` the executor's work queue, before it has any thread; return False if it has no queue to replace."""
    gate.width = gate.limit = executor._max_workers  # noqa: SLF001
    if type(getattr(executor, "_work_queue", None)) is not SimpleQueue:
        return False
    executor._work_queue = gate  # noqa: SLF001
    return True


def take_back() -> None:
    """Cancel the task of the `submit` whose caller is the caller of this function, unless a worker has begun it."""
    future = sys._getframe(2).f_locals.get("f")  # noqa: SLF001, nothing else tells which one it is
    if isinstance(future, Future):
        future.cancel()


def drain(executor: ThreadPoolExecutor) -> int:
    """Cancel all tasks in an executor's work queue; return how many. The executor has been shut down."""
    work_queue: Any = executor._work_queue  # noqa: SLF001
    # Not a gate's own method: to it, a worker that shuts its pool down comes for its next task.
    simple = isinstance(work_queue, SimpleQueue)
    take = functools.partial(SimpleQueue.get_nowait, work_queue) if simple else work_queue.get_nowait
    cancelled = 0
    with contextlib.suppress(queue.Empty):
        while True:
            item = take()
            if item is not None and item is not _COME_BACK:
                cancelled += item.future.cancel()
    return cancelled
