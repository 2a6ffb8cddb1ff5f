"""What every worker runs first: the level, then the user's own initializer."""

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from ._platform import backend
from ._priority import PriorityError, ProcessPriority, Shortfall, ThreadPriority

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Level = TypeVar("_Level", ProcessPriority, ThreadPriority)


class _Worker(threading.local):
    """State of the worker that this thread is: tasks run in the thread that ran the initializer."""

    refusal: Shortfall | None = None
    release: "_Release | None" = None


_worker = _Worker()


class _Release:
    """Prepares a thread for its end when the thread's own data are dropped, which Python does in that thread."""

    leave: Callable[[], None] | None = None

    def __del__(self) -> None:
        if self.leave is not None:
            self.leave()
        backend.release_thread()


def start_process(
    priority: ProcessPriority,
    on_failure: Callable[[Shortfall], None],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker process."""
    _start(backend.set_process, priority, on_failure, initializer, initargs)


def start_thread(
    priority: ThreadPriority,
    on_failure: Callable[[Shortfall], None],
    enroll: Callable[[], Callable[[], None]],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker thread; `enroll` is called last, and what it returns when the thread ends."""
    _worker.release = _Release()
    _start(backend.set_thread, priority, on_failure, initializer, initargs)
    _worker.release.leave = enroll()


def lift_thread(own: ThreadPriority, lifted: bool) -> bool:
    """Put this worker at BELOW_NORMAL, or back at its own level, which is lower; return whether the system let it."""
    try:
        return backend.set_thread(ThreadPriority.BELOW_NORMAL if lifted else own) is None
    except OSError:  # a PriorityError is one, too
        return False


def _start(
    set_level: Callable[[_Level], Shortfall | None],
    priority: _Level,
    on_failure: Callable[[Shortfall], None],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    try:
        shortfall = set_level(priority)
    except PriorityError as error:
        shortfall = error.args[0]
    except OSError as error:  # from a sandbox that forbids even to look: no reason to break the pool
        remedy = "Ask whoever runs this machine or container."
        shortfall = Shortfall(f"priority {priority.name}", "unknown", str(error), remedy)
    if shortfall is not None:
        on_failure(shortfall)
    if initializer is not None and _worker.refusal is None:
        initializer(*initargs)


def ignore(shortfall: Shortfall) -> None:
    """Let a worker that is not at its level work, and say nothing."""


def refuse(shortfall: Shortfall) -> None:
    """Let a worker that is not at its level answer every task with the reason; see :func:`run_unless_refused`."""
    _worker.refusal = shortfall


def run_unless_refused(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a task on a worker that is at its level.

    Raises
    ------
    PriorityError
        If it is not.
    """
    if _worker.refusal is not None:
        raise PriorityError(_worker.refusal)
    return fn(*args, **kwargs)
