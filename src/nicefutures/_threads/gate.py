"""The work queue of a thread pool, and a gate before it that lets only so many workers through to take tasks.

The stdlib's executor, its futures and its worker loop stay as they are. While as many workers may run as there are, the
queue is a plain :class:`queue.SimpleQueue`: a task costs what it costs there, and nothing of ours runs. When fewer may
run, a worker that is one too many waits before it takes a task, not with a task in its hands, and those who are through
take one task after the other without a change of threads. So tasks start in the order of submission, and a result is
never held back.
"""

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, Final, Protocol

from .._levels import PriorityError, Shortfall

try:  # not what gevent and eventlet put in its place in `queue`: their threads must not wait in C
    from _queue import SimpleQueue
except ImportError:
    from queue import SimpleQueue

# If for so long nothing is taken, although something waits, the gate has to open, in ns. The tasks that ran when it
# became narrow and share the GIL take longer to come to an end: so much more for them.
_STARVING_NS: Final = 150_000_000
_DRAINING_NS: Final = 100_000_000


class Worker:
    """A worker thread of a pool.

    Attributes
    ----------
    at_leave : callable or None
        Called when it is one no more, in its thread.
    thread : threading.Thread
        The thread, and ...
    ident : int
        ... what Python knows it by.
    lifted : bool
        Whether it is at a higher level than its own.
    refusal : Shortfall or None
        Why its tasks fail: it is not at its level.
    """

    __slots__ = ("at_leave", "ident", "lifted", "refusal", "thread")

    def __init__(self, ident: int, at_leave: Callable[[], None] | None, refusal: Shortfall | None) -> None:
        self.ident = ident
        self.at_leave = at_leave
        self.refusal = refusal
        self.thread = threading.current_thread()
        self.lifted = False

    @property
    def native_id(self) -> int:
        """The thread's, in the system."""
        return self.thread.native_id or 0

    @property
    def needs_us(self) -> bool:
        """Whether its tasks may not come straight from the queue, or its end has to be seen in time."""
        return self.lifted or self.refusal is not None or self.at_leave is not None


class Watch(Protocol):
    """Who wants to know whether there are workers."""

    def begin(self) -> None:
        """Take notice of the first worker."""

    def end_soon(self) -> None:
        """Take notice that the workers go, one after the other: who wants to know when they have gone calls `prune`."""

    def end(self) -> None:
        """Take notice that the last worker has gone."""


class _Nobody:
    def begin(self) -> None: ...
    def end_soon(self) -> None: ...
    def end(self) -> None: ...


class Gate(SimpleQueue[Any]):
    """A work queue for the workers that are enrolled; others use it as they would any queue.

    Attributes
    ----------
    width : int
        How many workers the pool may have.
    limit : int
        How many workers may be through the gate: at work, or waiting for it.
    watch : Watch
        Who is told of the first worker and the last.
    taken_at : int
        When a task was taken last, while the gate is narrow, in ns of `time.perf_counter_ns`.
    lifted : bool
        Whether workers shall be at a higher level than their own, from their next task on.
    lift : callable or None
        Puts the calling worker there, or back; returns False if it cannot.
    ends : bool
        Whether no more tasks come, so that the workers go.
    """

    # Here, for a pool that is shut down by a `__del__` at the interpreter's end finds no names of modules any more.
    _get_ident: Final = staticmethod(threading.get_ident)
    _wide: ClassVar[type["Gate"]]
    _narrow: ClassVar[type["Gate"]]

    # Here, for to set them costs time that a pool for a few tasks only does not have.
    width = limit = 0
    watch: Watch = _Nobody()
    lifted = ends = False
    lift: Callable[[bool], bool] | None = None
    taken_at = 0
    _submitted = 0
    _drained = 0  # by who shut the pool down
    _nones = 0  # how many are in the queue
    _emptier: int | None = None

    def __init__(self) -> None:
        self._forget_workers()

    def _forget_workers(self) -> None:
        # Reentrant, for the garbage collector may end a pool, this one too, wherever it likes.
        self._lock = threading.RLock()
        self._workers: dict[int, Worker] = {}
        self._parked: list[threading.Lock] = []

    # --- for the workers

    def enroll(
        self, refusal: Shortfall | None = None, at_leave: Callable[[], None] | None = None
    ) -> Callable[[], None] | None:
        """Make the calling thread a worker: what it gets from now on is limited.

        Parameters
        ----------
        refusal : Shortfall, optional
            Why all its tasks shall end with a PriorityError.
        at_leave : callable, optional
            Called when it is one no more, in that thread.

        Returns
        -------
        callable or None
            To be called when the thread ends.
        """
        ident = self._get_ident()
        worker = Worker(ident, at_leave, refusal)
        with self._lock:
            first = not self._workers
            self._workers[ident] = worker
            if refusal is not None or at_leave is not None:
                self._choose_class()
        if first:
            self.watch.begin()
        return None if at_leave is None else functools.partial(self._leave, worker)

    def _leave(self, worker: Worker) -> None:
        """Let a worker go, and another through."""
        with self._lock:
            if self._workers.get(worker.ident) is not worker:
                return
            del self._workers[worker.ident]
            self._admit()
            last = not self._workers
        try:
            if worker.at_leave is not None:
                worker.at_leave()
        finally:
            if last:
                self.watch.end()

    # --- for the executor

    def count_task(self) -> None:
        """Count a task that has been submitted. The executor's lock is held."""
        self._submitted += 1

    def take_back(self) -> None:
        """Drop the task that was submitted last, unless a worker has it. The executor's lock is held."""
        items = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(SimpleQueue.get_nowait(self))
        self._submitted -= bool(items)
        for item in items[:-1]:
            self.put(item)

    def count_end(self) -> None:
        """Count a None that is put into the queue, upon which workers go."""
        self._nones += 1
        self.note_end()

    def note_end(self, _: object = None) -> None:
        """Take note that no more tasks come. No lock is taken: the garbage collector may call this anywhere."""
        self.ends = True
        self.watch.end_soon()

    def prune(self) -> None:
        """Let the workers go whose threads have ended. That they tell so themselves would cost each of them time."""
        with self._lock:
            gone = [worker for worker in self._workers.values() if not worker.thread.is_alive()]
            for worker in gone:
                del self._workers[worker.ident]
            last = bool(gone) and not self._workers
            self._admit()
        if last:
            self.watch.end()

    def set_emptying(self, empties: bool) -> None:
        """Let the calling thread take whatever is in the queue, even if it is a worker, or no more."""
        with self._lock:
            self._emptier = self._get_ident() if empties else None
            self._choose_class()

    def tasks_done(self, running: int) -> int:
        """Return how many tasks have been done so far if so many are running."""
        with self._lock:
            return max(self._submitted - self._drained - max(self.qsize() - self._nones, 0) - running, 0)

    # --- for the regulator

    @property
    def workers(self) -> list[Worker]:
        """All workers, those included that wait."""
        return list(self._workers.values())

    @property
    def is_holding_back(self) -> bool:
        """Whether a worker waits before the gate, and a task behind it."""
        return bool(self._parked) and not self.empty()

    @property
    def is_starving(self) -> bool:
        """Whether nothing has been taken for so long that this has to end, although that is so."""
        return self.is_holding_back and time.perf_counter_ns() - self.taken_at >= _STARVING_NS

    def set_limit(self, limit: int, lifted: bool = False) -> None:
        """Let so many workers through: more of them now, fewer of them as they come back for their next task."""
        with self._lock:
            if type(self) is self._wide:
                self.taken_at = time.perf_counter_ns() + _DRAINING_NS
            self.limit, self.lifted = limit, lifted
            self._choose_class()
            self._admit()

    def unpark(self) -> None:
        """Let those who wait before the gate wait behind it: the limit stays, but nobody looks whether it is right.

        So nobody waits for a turn that does not come when the interpreter's end puts a None into the queue.
        """
        with self._lock:
            while self._parked:
                self._parked.pop().release()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the workers."""
        self.limit, self.lifted = self.width, False
        self.taken_at, self._emptier = 0, None
        self._forget_workers()
        self._choose_class()

    # --- with the lock held

    def _choose_class(self) -> None:
        narrow = self.limit < self.width or self.lifted or self._emptier is not None
        narrow = narrow or any(worker.needs_us for worker in self._workers.values())
        self.__class__ = self._narrow if narrow else self._wide

    def _admit(self) -> None:
        while self._parked and self._through < self.limit:
            # The one that came last: its data are still in the caches.
            self._parked.pop().release()

    @property
    def _through(self) -> int:
        return len(self._workers) - len(self._parked)

    # --- for a worker that takes its tasks while the gate is narrow; meanwhile it may become wide

    def _worker_here(self) -> Worker | None:
        """Return the worker that this thread is; None if it may take what it likes."""
        ident = self._get_ident()
        return None if ident == self._emptier else self._workers.get(ident)

    def _park(self) -> None:
        """Wait until there is room."""
        turn = threading.Lock()
        with self._lock:
            if self._through <= self.limit:
                return
            self._parked.append(turn)
            turn.acquire()
        turn.acquire()  # released by `_admit`

    def _take(self, worker: Worker | None, item: Any) -> Any:
        if worker is None:
            if item is not None and self._get_ident() == self._emptier:
                self._drained += 1
        elif item is None:
            self._leave(worker)
        else:
            self.taken_at = time.perf_counter_ns()
            if worker.lifted is not self.lifted:
                self._lift(worker)
            if worker.refusal is not None:
                return _RefusedItem(item.future, worker.refusal)
        return item

    def _lift(self, worker: Worker) -> None:
        lifted = self.lifted
        if self.lift is not None and self.lift(lifted):
            worker.lifted = lifted
        else:
            self.lift = None
            self.lifted = False


class _NarrowGate(Gate):
    """A gate with a `get` of ours. One that does not let all workers through becomes one, for as long as that is so."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item, as `queue.SimpleQueue.get` does; a worker waits until it may take one."""
        worker = self._worker_here()
        if worker is not None and self._through > self.limit:
            self._park()
        # Not `super()`: meanwhile the gate may have become wide.
        return self._take(worker, SimpleQueue.get(self, block, timeout))

    def get_nowait(self) -> Any:
        """Return the next item, or raise `queue.Empty`. A worker that there is an item for waits until it may take it.

        The stdlib's worker that finds nothing here counts as idle, and no thread is started for the next task. One that
        has to wait for its turn is not idle.
        """
        worker = self._worker_here()
        if worker is not None and self._through > self.limit and not self.empty():
            self._park()
        return self._take(worker, SimpleQueue.get_nowait(self))


Gate._wide, Gate._narrow = Gate, _NarrowGate  # noqa: SLF001, its own


class _RefusedItem:
    """A task that ends at once, for its worker is not at its level."""

    def __init__(self, future: Future[Any], refusal: Shortfall) -> None:
        self._future = future
        self._refusal = refusal

    def run(self, *_: object) -> None:
        """Run it, as the stdlib's worker does with its items."""
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(PriorityError(self._refusal))


# --- what is private in concurrent.futures, under the same names from Python 3.11 to 3.15


def are_green() -> bool:
    """Return whether what are threads for Python now are none for the system: gevent's or eventlet's."""
    return queue.SimpleQueue is not SimpleQueue


def put_before(executor: ThreadPoolExecutor, gate: Gate) -> bool:
    """Make `gate` the executor's work queue, before it has any thread; return False if it has no queue to replace."""
    gate.width = gate.limit = executor._max_workers  # noqa: SLF001
    if type(getattr(executor, "_work_queue", None)) is not SimpleQueue:
        return False
    executor._work_queue = gate  # noqa: SLF001
    return True
