"""The work queue of a thread pool, and a gate before it that lets only so many workers through to take tasks.

The stdlib's executor, its futures and its worker loop stay as they are: a worker that is one too many waits here before
it takes a task, not with a task in its hands, and those who are through take one task after the other without a
change of threads. So tasks start in the order of submission, and a result is never held back.
"""

import contextlib
import functools
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from .worker import run_task


class Task(NamedTuple):
    """What a worker does, and when it began, in ns of `time.perf_counter_ns`."""

    item: Any
    begun: int

    @property
    def function(self) -> str:
        """Name of the function that was submitted."""
        return name_function(self.item)


class EndedTask(NamedTuple):
    """What a worker has done, when, and the CPU time that it took, in ns, or 0 where that is not counted.

    It does not have the item, which would keep arguments and result alive.
    """

    function: str
    begun: int
    ended: int
    used_ns: int


class Worker:
    """A worker thread. Only that thread writes here, others look."""

    __slots__ = ("at_leave", "done", "empties", "ident", "last_long", "lifted", "native_id", "task", "used_ns")

    def __init__(self, at_leave: Callable[[], None] | None) -> None:
        self.at_leave = at_leave
        self.ident = threading.get_ident()
        self.native_id = threading.get_native_id()
        self.task: Task | None = None
        self.last_long: EndedTask | None = None
        self.done = 0
        self.used_ns = 0
        self.empties = False
        self.lifted = False

    def task_at(self, when: int) -> Task | EndedTask | None:
        """Return the task that ran at a time, in ns of `time.perf_counter_ns`: this one, or the last long one."""
        task, last = self.task, self.last_long
        if task is not None and task.begun <= when:
            return task
        return last if last is not None and last.begun <= when <= last.ended else None


class Watch(Protocol):
    """Who wants to know that tasks run."""

    @property
    def awake(self) -> bool:
        """Whether a task that begins is noticed without a call of `wake`."""

    def wake(self) -> None:
        """Take notice of a task that has begun."""

    def begin(self) -> None:
        """Take notice of the first worker."""

    def end(self) -> None:
        """Take notice that the last worker has gone."""


class _Nobody:
    awake = True

    def wake(self) -> None: ...
    def begin(self) -> None: ...
    def end(self) -> None: ...


class Gate(queue.SimpleQueue[Any]):
    """A work queue for the workers that are enrolled; others use it as they would any queue.

    Attributes
    ----------
    width : int
        How many workers the pool may have.
    limit : int
        How many workers may be through the gate: at work, or waiting for it.
    watch : Watch
        Who is told when tasks run.
    long_ns : float
        From this duration on a task is remembered when it is done.
    counts_cpu : bool
        Whether workers take note of the CPU time that they have used, task by task.
    lifted : bool
        Whether workers shall be at a higher level than their own, from their next task on.
    lift : callable or None
        Puts the calling worker there, or back; returns False if it cannot.
    """

    def __init__(self) -> None:
        self.width = self.limit = 0
        self.watch: Watch = _Nobody()
        self.long_ns = math.inf
        self.counts_cpu = False
        self.lifted = False
        self.lift: Callable[[bool], bool] | None = None
        self._workers: dict[int, Worker] = {}
        self._done_before = 0  # by workers that have left
        self._through = 0
        self._parked: list[threading.Lock] = []
        self._lock = threading.Lock()

    # --- for the workers

    def enroll(self, at_leave: Callable[[], None] | None = None) -> Callable[[], None]:
        """Make the calling thread a worker: what it gets from now on is limited and counted.

        Parameters
        ----------
        at_leave : callable, optional
            Called when it is one no more, in that thread.

        Returns
        -------
        callable
            To be called when the thread ends, if it has not got the None that ends it.
        """
        worker = Worker(at_leave)
        with self._lock:
            self._workers[worker.ident] = worker
            self._through += 1
            first = len(self._workers) == 1
        if first:
            self.watch.begin()
        return functools.partial(self._leave, worker)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Return the next item, as `queue.SimpleQueue.get` does; a worker waits until it may take one."""
        worker = self._workers.get(threading.get_ident())
        if worker is None or worker.empties:
            return super().get(block, timeout)
        self._end_task(worker)
        if self._through > self.limit:
            self._park()
        return self._begin_task(worker, super().get(block, timeout))

    def get_nowait(self) -> Any:
        """Return the next item, or raise `queue.Empty`. A worker that there is an item for waits until it may take it.

        The stdlib's worker that finds nothing here counts as idle, and no thread is started for the next task. One that
        has to wait for its turn is not idle.
        """
        worker = self._workers.get(threading.get_ident())
        if worker is None or worker.empties:
            return super().get_nowait()
        self._end_task(worker)
        if self._through > self.limit and not self.empty():
            self._park()
        return self._begin_task(worker, super().get_nowait())

    def _begin_task(self, worker: Worker, item: Any) -> Any:
        if item is None:
            self._leave(worker)
        else:
            if worker.lifted is not self.lifted:
                self._lift(worker)
            worker.task = Task(item, time.perf_counter_ns())
            if not self.watch.awake:
                self.watch.wake()
        return item

    def _end_task(self, worker: Worker) -> None:
        task = worker.task
        if task is not None:
            now, used_before = time.perf_counter_ns(), worker.used_ns
            if self.counts_cpu:
                worker.used_ns = time.thread_time_ns()
            if now - task.begun >= self.long_ns:
                worker.last_long = EndedTask(task.function, task.begun, now, worker.used_ns - used_before)
            worker.task = None
            worker.done += 1

    def _lift(self, worker: Worker) -> None:
        lifted = self.lifted
        if self.lift is not None and self.lift(lifted):
            worker.lifted = lifted
        else:
            self.lift = None

    def _park(self) -> None:
        """Wait until there is room."""
        turn = threading.Lock()
        with self._lock:
            if self._through <= self.limit:
                return
            self._through -= 1
            self._parked.append(turn)
            turn.acquire()
        turn.acquire()  # released by `_admit`, which counts this worker as through

    def _leave(self, worker: Worker) -> None:
        """Let a worker go, and others through: it got the None that ends it, and puts that back for them."""
        with self._lock:
            if self._workers.get(worker.ident) is not worker:
                return
            del self._workers[worker.ident]
            self._done_before += worker.done
            self._through -= 1
            self._admit()
            last = not self._workers
        try:
            if worker.at_leave is not None:
                worker.at_leave()
        finally:
            if last:
                self.watch.end()

    def _admit(self) -> None:
        while self._parked and self._through < self.limit:
            self._through += 1
            # The one that came last: its data are still in the caches.
            self._parked.pop().release()

    # --- for everybody else

    def set_limit(self, limit: int) -> None:
        """Let so many workers through: more of them now, fewer of them as they come back for their next task."""
        with self._lock:
            self.limit = limit
            self._admit()

    @property
    def running(self) -> list[Worker]:
        """The workers that have a task."""
        return [worker for worker in self.workers if worker.task is not None]

    @property
    def workers(self) -> list[Worker]:
        """All workers, those included that wait."""
        return list(self._workers.values())

    @property
    def tasks_done(self) -> int:
        """How many tasks have been done so far."""
        with self._lock:
            return self._done_before + sum(worker.done for worker in self._workers.values())

    @contextlib.contextmanager
    def emptying(self) -> Iterator[None]:
        """Let the calling thread take whatever is in the queue, even if it is a worker."""
        worker = self._workers.get(threading.get_ident())
        if worker is None:
            yield
            return
        worker.empties = True
        try:
            yield
        finally:
            worker.empties = False


# --- what is private in concurrent.futures, under the same names from Python 3.11 to 3.15


def put_before(executor: ThreadPoolExecutor, gate: Gate) -> bool:
    """Make `gate` the executor's work queue, before it has any thread; return False if it has no queue to replace."""
    if type(getattr(executor, "_work_queue", None)) is not queue.SimpleQueue:
        return False
    gate.width = gate.limit = executor._max_workers  # noqa: SLF001
    executor._work_queue = gate  # noqa: SLF001
    return True


def name_function(item: Any) -> str:
    """Return the qualified name of the function that a work item calls."""
    try:
        return _qualified_name(_function_of(item))
    except Exception:  # noqa: BLE001, a callable of the user's may do anything when it is looked at
        return "unknown"


def _function_of(item: Any) -> Any:
    # Up to 3.13 the item has these as attributes, from 3.14 on as one tuple.
    function, args = (item.fn, item.args) if hasattr(item, "fn") else item.task[:2]
    if function is run_task:
        function = args[0]
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _qualified_name(function: Any) -> str:
    if not hasattr(function, "__qualname__"):
        function = type(function)
    module = getattr(function, "__module__", None)
    return f"{module}.{function.__qualname__}" if module else str(function.__qualname__)
