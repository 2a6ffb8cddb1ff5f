"""A task on its way through the pool."""

import functools
import threading
from typing import Any, Protocol

from .once import Once


class Stoppable(Protocol):
    """What has a task."""

    def stop(self) -> None:
        """End in the middle of it."""


class Held(dict["Task", Stoppable]):
    """The tasks of an executor that a worker has."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()  # held by who stops a task, and by a task that fails


class Task:
    """A call on its way: a future keeps this, as long as there is somebody who may stop it.

    Who takes it from `held` decides what becomes of it and of its worker. That needs no lock.

    Parameters
    ----------
    held : Held
        Where it is while a worker has it.
    """

    __slots__ = ("_is_over", "_is_stopped", "held")

    def __init__(self, held: Held) -> None:
        self.held = held
        self._is_stopped = self._is_over = False

    def give_to(self, worker: Stoppable) -> bool:
        """Let a worker have it; return False if it has been stopped, so that it has to be taken back."""
        self.held[self] = worker
        return not self._is_stopped

    def take_back(self) -> bool:
        """Return whether its worker may go on; if not, somebody ends that."""
        return self.held.pop(self, None) is not None

    def finish(self) -> bool:
        """Take it back for good, for its worker has answered; as `take_back`."""
        self._is_over = True  # first: who finds no worker any more is to know why
        return self.held.pop(self, None) is not None

    def fail(self) -> bool:
        """Return whether it has come to an end for another reason than that it was stopped."""
        with self.held.lock:
            self._is_over = True
            return not self._is_stopped

    def stop(self) -> bool:
        """End it, and what it has started; return False if it is over."""
        with self.held.lock:
            self._is_stopped = True
            worker = self.held.pop(self, None)
            if worker is None and self._is_over:
                return False
        if worker is not None:
            worker.stop()
        return True


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
