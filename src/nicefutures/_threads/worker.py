"""The first and the last steps of a worker thread."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

from .._failure import attempt, refuse
from .._levels import PriorityError, Shortfall, ThreadPriority
from .._system import backend


class _Here(threading.local):
    """State of the worker that runs in this thread."""

    release: "_Release | None" = None


_here = _Here()


class _Release:
    """Runs the last steps of a thread when Python drops the thread's local data, which happens in that thread.

    In a forked child, Python drops the data of all threads of the parent. One of these threads may have held a lock
    that the steps need, so the child does not run them.
    """

    def __init__(self, steps: Iterable[Callable[[], None]]) -> None:
        self._pid = os.getpid()
        self._steps = steps

    def __del__(self) -> None:
        if os.getpid() == self._pid:
            for step in self._steps:
                step()


class Level:
    """The priority of a pool's workers, which may change while they start; a worker calls it to set its own."""

    def __init__(self, value: ThreadPriority) -> None:
        self.value = value
        # Imports the modules here, and not in a worker: the children of a fork during an import hang.
        with contextlib.suppress(OSError):
            backend.priority.get_thread()

    def __call__(self) -> Shortfall | None:
        while True:
            value = self.value
            shortfall = backend.priority.set_thread(value)
            if value is self.value:
                return shortfall


def start_thread(
    set_level: Callable[[], Shortfall | None],
    on_denied: Callable[[Shortfall], None],
    enroll: Callable[[Shortfall | None, Callable[[], None] | None], None] | None,
    hold_cap: Callable[[], Callable[[], None]] | None,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker thread.

    `hold_cap` limits BLAS threads, and returns the function that ends this limit when the thread ends. `enroll` is
    called last, with that function. If `on_denied` is :func:`nicefutures._failure.refuse` and the priority could not be
    set, `enroll` also gets the shortfall, and the initializer does not run.
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
    level: Level,
    on_denied: Callable[[Shortfall], None],
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    """Initialize a worker that is a greenlet, and has no priority of its own: one thread runs all greenlets.

    Raise a PriorityError if `on_denied` is :func:`nicefutures._failure.refuse`.
    """
    shortfall = Shortfall(
        f"thread priority {level.value.name}",
        "the level of the thread that runs all of them",
        "gevent or eventlet has replaced the threads of this program by its own, which have no priority",
        "Use LowPriorityProcessPoolExecutor, or the thread pool of gevent or eventlet.",
    )
    if on_denied is refuse:
        raise PriorityError(shortfall)
    on_denied(shortfall)
    if initializer is not None:
        initializer(*initargs)


def lift_thread(own: Level, lifted: bool) -> bool:
    """Raise this worker to BELOW_NORMAL, or lower it to its own priority; return whether the system allowed it."""
    try:
        return backend.priority.set_thread(ThreadPriority.BELOW_NORMAL if lifted else own.value) is None
    except OSError:  # a PriorityError is one, too
        return False
