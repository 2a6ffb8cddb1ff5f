"""The work queue of a thread pool that limits how many of its workers run tasks at a time.

The stdlib's executor, its futures and its worker loop stay as they are; its queue is replaced by a :class:`Gate`. A
worker above the limit waits before it takes a task, and never while it has one. So tasks start in the order of
submission, and no result is delayed. The workers inside the gate take one task after the other without a change of
threads.
"""

import contextlib
import functools
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any, Final

from .._levels import PriorityError, Shortfall
from .._originals import SimpleQueue, now_ns

# An item in the queue: the worker that takes it must ask again whether it may be inside.
_COME_BACK: Final = object()


class Worker:
    """A worker thread of a pool."""

    __slots__ = ("at_end", "ident", "lifted", "native_id", "refusal")

    def __init__(self, refusal: Shortfall | None, at_end: Callable[[], None] | None) -> None:
        self.at_end = at_end  # called in its thread when it is told to end
        self.ident = threading.get_ident()
        self.native_id = threading.get_native_id()
        self.refusal = refusal  # why its tasks fail: its priority could not be set
        self.lifted = False  # raised above its own priority


_put = SimpleQueue.put


class TaskQueue(SimpleQueue[Any]):
    """A work queue that knows which of its tasks have not ended.

    Its length and the stacks of the workers do not tell: a worker that takes a task may get the GIL, or a CPU, only
    later. The stdlib's worker drops a task when it has run.
    """

    def __init__(self) -> None:
        self.unfinished: set[weakref.ref[Any]] = set()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, as `queue.SimpleQueue.put` does."""
        if hasattr(item, "future"):
            self.note(item)
        _put(self, item, block, timeout)

    def note(self, task: Any) -> None:
        """Count a task that will be added later, or is added now."""
        self.unfinished.add(weakref.ref(task, self.unfinished.discard))


class Gate(TaskQueue):
    """A work queue that limits the workers enrolled with it; for other threads it is a plain queue."""

    # Kept here, because a `__del__` that shuts down a pool at the interpreter's end finds no names of modules.
    _get_ident: Final = staticmethod(threading.get_ident)

    # How many workers the pool may have, and how many may be inside the gate: running a task, or waiting for one; and
    # when the last task was taken, in ns of `now_ns`.
    width = limit = taken_at = 0
    begin: Callable[[], object] | None = None  # called when the first worker begins
    end: Callable[[], object] | None = None  # called when the last worker ends
    lifted = False  # workers should be raised above their own priority, from their next task on
    lift: Callable[[bool], bool] | None = None  # raises or lowers the calling worker; returns False if it cannot

    def __init__(self) -> None:
        super().__init__()
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Begin without workers and without a limit."""
        self.limit, self.lifted = self.width, False
        # Reentrant, because the garbage collector may end a pool, also this one, at any point.
        self._lock = threading.RLock()
        self._new: dict[int, Worker] = {}
        self._workers: dict[int, Worker] = {}
        self._running: dict[int, Worker] = {}
        self._parked: list[threading.Lock] = []

    # --- for the workers

    def enroll(self, refusal: Shortfall | None, at_end: Callable[[], None] | None) -> None:
        """Make the calling thread a worker as soon as it asks for its first task.

        With a `refusal`, all its tasks end with that as a PriorityError. `at_end` is called in this thread when it is
        told to end; not later, when `threading` no longer knows the thread.
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
        """Return the next item, or raise `queue.Empty`. If there is an item, a worker waits until it may take one.

        The stdlib counts a worker that finds nothing here as idle, and starts no thread for the next task. A worker
        that has to wait for its turn is not idle.
        """
        while True:
            worker = self._come_back(parks=not self.empty())
            item = super().get_nowait()
            if item is not _COME_BACK:
                return self._take(worker, item)

    def _come_back(self, parks: bool) -> Worker | None:
        """Return the worker of this thread as soon as there is room for it; None if the thread is not limited."""
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
            if first and self.begin is not None:
                self.begin()
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
        self.taken_at = now_ns()
        self._running[worker.ident] = worker
        if worker.lifted is not self.lifted:
            self._lift(worker)
        return item if worker.refusal is None else _RefusedItem(item.future, worker.refusal)

    def _leave(self, worker: Worker) -> None:
        """Remove a worker that must end, and let in another one, which must end as well."""
        with self._lock:
            self._workers.pop(worker.ident, None)
            last = not self._workers
            self._admit()
        if worker.at_end is not None:
            worker.at_end()
        if last and self.end is not None:
            self.end()

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
        """Whether both a worker outside the gate and a task are waiting."""
        return bool(self._parked) and not self.empty()

    def set_limit(self, limit: int) -> None:
        """Let in up to `limit` workers. A higher limit applies at once, a lower one at the workers' next tasks."""
        with self._lock:
            self.limit = limit
            self._admit()
            # Workers that wait inside for a task must wait outside, or all of them would take the next tasks.
            for _ in range(self._inside - max(limit, len(self._running)) if self.empty() else 0):
                _put(self, _COME_BACK)

    def let_in(self) -> None:
        """Let in all workers that wait now. The limit stays, and applies when they come for their next task."""
        with self._lock:
            while self._parked:
                self._parked.pop().release()

    # --- with the lock held

    def _admit(self) -> None:
        while self._parked and self._inside < self.limit:
            self._parked.pop().release()  # the last one: its data are still in the caches

    @property
    def _inside(self) -> int:
        return len(self._workers) - len(self._parked)


class _RefusedItem:
    """A task that fails at once, because its worker's priority could not be set."""

    def __init__(self, future: Future[Any], refusal: Shortfall) -> None:
        self._future = future
        self._refusal = refusal

    def run(self, *_: object) -> None:
        """Fail the task; the stdlib's worker calls this."""
        if self._future.set_running_or_notify_cancel():
            self._future.set_exception(PriorityError(self._refusal))


# --- private names of concurrent.futures, the same from Python 3.11 to 3.15


def put_before(executor: ThreadPoolExecutor, tasks: TaskQueue) -> bool:
    """Set the executor's work queue, before any thread starts; return False if there is no queue to replace."""
    if isinstance(tasks, Gate):
        tasks.width = tasks.limit = executor._max_workers  # noqa: SLF001
    if type(getattr(executor, "_work_queue", None)) is not SimpleQueue:
        return False
    executor._work_queue = tasks  # noqa: SLF001
    return True


def take_back() -> None:
    """Cancel the task of the calling `submit`, unless a worker has begun the task."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001, nothing else tells which task it is
    while frame is not None and frame.f_code.co_name != "submit":
        frame = frame.f_back
    future = None if frame is None else frame.f_locals.get("f")
    if isinstance(future, Future):
        future.cancel()


def take_tasks(work_queue: Any, give_back: Callable[[Any], object] | None = None) -> list[Any]:
    """Remove all tasks from a work queue and return them; `give_back` gets the other items, by default the queue."""
    # Not a gate's own method: it would treat a worker that shuts its pool down as one that wants its next task.
    simple = isinstance(work_queue, SimpleQueue)
    take = functools.partial(SimpleQueue.get_nowait, work_queue) if simple else work_queue.get_nowait
    tasks: list[Any] = []
    others: list[Any] = []
    with contextlib.suppress(queue.Empty):
        while True:
            item = take()
            (tasks if hasattr(item, "future") else others).append(item)
    for item in others:
        (give_back or work_queue.put)(item)
    return tasks


def end_tasks(tasks: Iterable[Any], error: BaseException | None = None) -> None:
    """Cancel tasks, or let them end with an error. This calls the callbacks of their futures."""
    for task in tasks:
        if error is None:
            task.future.cancel()
        if task.future.set_running_or_notify_cancel():
            task.future.set_exception(error)
