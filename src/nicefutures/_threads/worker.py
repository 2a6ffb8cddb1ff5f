"""What runs in a worker thread: what it does first and last, and how it runs a task."""

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from .._failure import initialize, raise_if_refusing, settle
from .._levels import Shortfall, ThreadPriority
from .._system import backend

_P = ParamSpec("_P")
_T = TypeVar("_T")


class _Here(threading.local):
    """State of the worker that this thread is."""

    release: "_Release | None" = None


_here = _Here()


class _Release:
    """Prepares a thread for its end when the thread's own data are dropped, which Python does in that thread.

    In a forked child Python drops those of all threads of the parent, one of which may have held the lock that is
    needed here. There it does nothing.
    """

    leave: Callable[[], None] | None = None

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __del__(self) -> None:
        if os.getpid() != self._pid:
            return
        if self.leave is not None:
            self.leave()
        backend.priority.release_thread()


def start_thread(
    priority: ThreadPriority,
    on_failure: Callable[[Shortfall], None],
    enroll: Callable[[], Callable[[], None]],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker thread; `enroll` is called last, and what it returns when the thread ends."""
    _here.release = _Release()
    settle([functools.partial(backend.priority.set_thread, priority)], on_failure)
    initialize(initializer, initargs)
    _here.release.leave = enroll()


def lift_thread(own: ThreadPriority, lifted: bool) -> bool:
    """Put this worker at BELOW_NORMAL, or back at its own level, which is lower; return whether the system let it."""
    try:
        return backend.priority.set_thread(ThreadPriority.BELOW_NORMAL if lifted else own) is None
    except OSError:  # a PriorityError is one, too
        return False


def run_task(fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run a task on a worker that is at its level.

    Raises
    ------
    PriorityError
        If the worker is not.
    """
    raise_if_refusing()
    return fn(*args, **kwargs)
