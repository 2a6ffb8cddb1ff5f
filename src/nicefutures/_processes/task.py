"""A task on its way through the pool. The first thread that sets its verdict decides how it ends."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any, Final

from .._forks import keep_through_forks


class StoppedError(CancelledError):
    """The task was stopped while it ran."""


# One lock for all tasks: it is held only briefly, and there may be many pending tasks.
_lock: Final = threading.RLock()
keep_through_forks(_lock)


class Task:
    """A submitted call. Its future refers to it, so it exists as long as the program can stop it.

    Its verdict is set once: by the thread that runs it, with `settle`, or by the thread that stops it. Only the thread
    that sets it ends the worker.
    """

    __slots__ = ("_is_settled", "_stop_worker", "_under_way", "call", "executor", "is_stopped", "number", "owner")

    def __init__(self, executor: object, under_way: "UnderWay | None" = None) -> None:
        self.executor = executor  # identifies it, without a reference to it
        # Of a pending task: its call, its number as `Keeping` counts, and the pool's owner.
        self.call: Any = None
        self.number = 0
        self.owner: Any = None
        self._under_way = under_way  # counts this task until its future is done or cancelled
        self._stop_worker: Callable[[], None] | None = None
        self.is_stopped = self._is_settled = False  # a thread that stops the task ends its worker

    def take_call(self) -> Any:
        """Return its call, and remove it from the task."""
        call, self.call = self.call, None
        return call

    def lease(self, stop_worker: Callable[[], None]) -> None:
        """Note how to stop the worker that has the task from now on; raise a StoppedError if the task was stopped."""
        with _lock:
            if not self.is_stopped:
                self._stop_worker = stop_worker
                return
        raise StoppedError

    def release(self) -> None:
        """Take the task back from its worker; raise as `lease` if it was stopped, which has ended the worker."""
        with _lock:
            self._stop_worker = None
            if not self.is_stopped:
                return
        raise StoppedError

    def settle(self) -> bool:
        """Take the task back permanently; return False if it was stopped before."""
        with _lock:
            self._stop_worker = None
            self._is_settled = True
            return not self.is_stopped

    def settle_or_raise(self) -> None:
        """Take the task back permanently; raise a StoppedError if it was stopped before."""
        if not self.settle():
            raise StoppedError

    def stop(self) -> bool:
        """End the task and the processes that it has started; return False if it already has its verdict."""
        with _lock:
            if self._is_settled and not self.is_stopped:
                return False
            self.is_stopped = True
            stop_worker, self._stop_worker = self._stop_worker, None
        if stop_worker is not None:
            stop_worker()
        return True

    def __call__(self, _: Future[Any]) -> None:
        """Note the end of the future. This is its first callback."""
        self.call = self.owner = None  # still set in a cancelled task
        if self._under_way is not None:
            self._under_way.end()


class UnderWay:
    """The number of unfinished tasks. Each future refers to this object, and none to the pool."""

    def __init__(self, at_rest: Callable[[], None]) -> None:
        self.count = 0
        self._at_rest = at_rest  # called when no task is left
        self._lock = threading.Lock()

    def begin(self) -> None:
        """Count one more task."""
        with self._lock:
            self.count += 1

    def end(self, _: object = None) -> None:
        """Count one task less, which is done or was cancelled."""
        with self._lock:
            self.count -= 1
            is_at_rest = not self.count
        if is_at_rest:
            self._at_rest()


class TaskFuture(Future[Any]):
    """A future that counts as cancelled if its task is stopped."""

    task: Task | None = None

    def set_exception(self, exception: BaseException | None) -> None:
        if not isinstance(exception, StoppedError):
            super().set_exception(exception)
            return
        # Private, since Python 3.2: a running future cannot be cancelled in another way.
        self._state = "PENDING"
        self.cancel()
        self.set_running_or_notify_cancel()


class _Queue:
    """The queue of a ThreadPoolExecutor. It sets the class of each future before a thread can take it."""

    def __init__(self, queue: Any) -> None:
        self._put = queue.put
        self.get, self.get_nowait = queue.get, queue.get_nowait

    def put(self, item: Any) -> None:
        if item is not None:
            item.future.__class__ = TaskFuture
        self._put(item)


class Threads(ThreadPoolExecutor):
    """A ThreadPoolExecutor whose futures are TaskFutures, even if a task is stopped before `submit` returns."""

    def __init__(self, count: int) -> None:
        super().__init__(count, "nicefutures-worker")
        # Private, from Python 3.7 to 3.15, as is the future of an item.
        self._work_queue: Any = _Queue(self._work_queue)
