"""What runs in a worker thread: what it does first and last."""

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from .._failure import attempt, refuse
from .._levels import PriorityError, Shortfall, ThreadPriority
from .._system import backend


class _Here(threading.local):
    """State of the worker that this thread is."""

    release: "_Release | None" = None


_here = _Here()


class _Release:
    """Prepares a thread for its end when the thread's own data are dropped, which Python does in that thread.

    In a forked child Python drops those of all threads of the parent, one of which may have held the lock that is
    needed here. There it does nothing.
    """

    def __init__(self, steps: Iterable[Callable[[], None]]) -> None:
        self._pid = os.getpid()
        self._steps = steps

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            for step in self._steps:
                step()


def start_thread(
    set_level: Callable[[], Shortfall | None],
    on_denied: Callable[[Shortfall], None],
    enroll: Callable[[Shortfall | None, Callable[[], None] | None], None] | None,
    hold_cap: Callable[[], Callable[[], None]] | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker thread.

    `hold_cap` limits BLAS threads until the function that it returns is called, when the thread ends. `enroll`, called
    last, gets that function, and the shortfall if `on_denied` is :func:`nicefutures._failure.refuse` and something is
    missing; then the initializer does not run.
    """
    release = backend.priority.release_thread
    steps = [] if release is None else [release]
    if steps or hold_cap is not None:
        _here.release = _Release(steps)
    shortfall = attempt(set_level)
    refusal = shortfall if on_denied is refuse else None
    if shortfall is not None and refusal is None:
        on_denied(shortfall)
    if initializer is not None and refusal is None:
        initializer(*initargs)
    end_cap = None if hold_cap is None else hold_cap()
    if end_cap is not None:
        steps.insert(0, end_cap)
    if enroll is not None:
        enroll(refusal, end_cap)


def start_green_thread(
    priority: ThreadPriority,
    on_denied: Callable[[Shortfall], None],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker that is no thread of the system's, and has no level: its thread's is the program's.

    Raises
    ------
    PriorityError
        If `on_denied` is :func:`nicefutures._failure.refuse`.
    """
    shortfall = Shortfall(
        f"thread priority {priority.name}",
        "the level of the thread that runs all of them",
        "gevent or eventlet has replaced the threads of this program by its own, which have no priority",
        "Use LowPriorityProcessPoolExecutor, or the thread pool of gevent or eventlet.",
    )
    if on_denied is refuse:
        raise PriorityError(shortfall)
    on_denied(shortfall)
    if initializer is not None:
        initializer(*initargs)


def lift_thread(own: ThreadPriority, lifted: bool) -> bool:
    """Put this worker at BELOW_NORMAL, or back at its own level, which is lower; return whether the system let it."""
    try:
        return backend.priority.set_thread(ThreadPriority.BELOW_NORMAL if lifted else own) is None
    except OSError:  # a PriorityError is one, too
        return False
