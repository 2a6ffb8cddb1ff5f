"""A task on its way through the pool, and who ends it: the first one that says so."""

import functools
import threading
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol

from .once import Once


class StoppedError(CancelledError):
    """The task was stopped while it ran."""


class Stoppable(Protocol):
    """What has a task."""

    def stop(self) -> None:
        """End in the middle of it."""


class Task:
    """A call on its way: a future keeps this, as long as there is somebody who may stop it.

    Its verdict is set once: by the thread that runs it, with `settle`, or by who stops it. Only then does that one end
    its worker.

    Parameters
    ----------
    executor : object
        Stands for the executor, and does not keep it.
    """

    __slots__ = ("_is_settled", "_is_stopped", "_lock", "_worker", "executor")

    def __init__(self, executor: object) -> None:
        self.executor = executor
        self._lock = threading.Lock()
        self._worker: Stoppable | None = None
        self._is_stopped = self._is_settled = False

    def lease(self, worker: Stoppable) -> None:
        """Let a worker have it from now on.

        Raises
        ------
        StoppedError
            If it has been stopped.
        """
        with self._lock:
            if not self._is_stopped:
                self._worker = worker
                return
        raise StoppedError

    def release(self) -> None:
        """Take it back from its worker, as `lease`: that one is ended if it was stopped."""
        with self._lock:
            self._worker = None
            if not self._is_stopped:
                return
        raise StoppedError

    @property
    def is_stopped(self) -> bool:
        """Whether somebody else ends its worker."""
        return self._is_stopped

    def settle(self) -> bool:
        """Take it back for good; return False if it was stopped before."""
        with self._lock:
            self._worker = None
            self._is_settled = True
            return not self._is_stopped

    def settle_or_raise(self) -> None:
        """Take it back for good, or raise a StoppedError."""
        if not self.settle():
            raise StoppedError

    def stop(self) -> bool:
        """End it, and what it has started; return False if it has its verdict."""
        with self._lock:
            if self._is_settled and not self._is_stopped:
                return False
            self._is_stopped = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        return True


class TaskFuture(Future[Any]):
    """A future that is cancelled, as any other, if its task is stopped."""

    nicefutures_task: Task

    def set_exception(self, exception: BaseException | None) -> None:
        if not isinstance(exception, StoppedError):
            super().set_exception(exception)
            return
        # Private, and so since Python 3.2: a future that runs cannot be cancelled otherwise.
        self._state = "PENDING"
        self.cancel()
        self.set_running_or_notify_cancel()


def name_of(call: Any) -> str:
    """Return what the function of a task is called."""
    fn: Any
    fn, args, _ = call
    while True:
        if type(fn) is Once:
            fn = fn.function
        elif type(fn) is functools.partial:
            fn, args = fn.func, (*fn.args, *args)
        elif args and getattr(fn, "__module__", "").startswith("nicefutures."):  # what runs the user's
            fn, args = args[0], args[1:]
        else:
            return f"{getattr(fn, '__module__', None)}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"


def task_of(future: Any) -> Task | None:
    """Return a future's task; None if it is no future, or none of ours."""
    task: Task | None = getattr(future, "nicefutures_task", None)
    return task
