"""A task on its way through the pool."""

import functools
import threading
from typing import TYPE_CHECKING, Any, Protocol

from .once import Once

if TYPE_CHECKING:
    from .message import Failure
    from .transport.keeping import Epoch, Epochs
    from .transport.parent import Packed


class Stoppable(Protocol):
    """What has a task."""

    def kill_in_time(self) -> None:
        """End in the middle of it."""


class Task:
    """A call, and the worker that has it: a future keeps this, as long as there is somebody who may stop it.

    Parameters
    ----------
    call : tuple
        The function, its arguments, and those with names.
    epoch : Epoch
        When it was submitted.
    owner : Epochs
        Those of the executor that it was submitted to.

    Attributes
    ----------
    packed : Packed, Failure or None
        What :meth:`Crew.pack_now` has made of it, if that has been necessary.
    """

    __slots__ = ("_is_over", "_is_stopped", "_lock", "_worker", "call", "epoch", "owner", "packed")

    def __init__(self, call: Any, epoch: "Epoch", owner: "Epochs") -> None:
        self.call = call
        self.epoch = epoch
        self.owner = owner
        self.packed: Packed | Failure | None = None
        self._lock = threading.Lock()
        self._worker: Stoppable | None = None
        self._is_stopped = self._is_over = False

    def give_to(self, worker: Stoppable) -> bool:
        """Let a worker have it, unless it has been stopped."""
        with self._lock:
            if not self._is_stopped:
                self._worker = worker
            return not self._is_stopped

    def take_back(self) -> bool:
        """Return whether its worker may go on; if not, somebody ends that."""
        with self._lock:
            self._worker = None
            return not self._is_stopped

    def finish(self) -> bool:
        """Return whether it has come to its own end."""
        self.call = self.packed = None
        with self._lock:
            self._is_over = True
            return not self._is_stopped

    def stop(self) -> bool:
        """End it, and what it has started; return False if it is over."""
        with self._lock:
            if self._is_over:
                return False
            self._is_stopped = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill_in_time()
        return True

    @property
    def name(self) -> str:
        """What its function is called."""
        fn: Any
        fn, args, _ = self.call
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
