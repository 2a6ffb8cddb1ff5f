"""Setting and reading the priority of a process and of the calling thread."""

import contextlib
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ._levels import PriorityWarning, ProcessPriority, Shortfall, ThreadPriority, parse_priority
from ._system import backend

_Level = TypeVar("_Level", ProcessPriority, ThreadPriority)


def set_process_priority(priority: ProcessPriority | str, pid: int | None = None) -> None:
    """Put a process at a priority level: every thread of it, those that exist already included.

    It can be pickled, so it serves as the initializer of anyone's worker processes.

    Parameters
    ----------
    priority : ProcessPriority or str
        The level, or its name in any case.
    pid : int, optional
        Process id; the calling process by default.

    Raises
    ------
    ValueError
        If there is no such level, or `pid` is not positive.
    PriorityError
        If the operating system does not report the level afterwards: a missing privilege, or Windows turning REALTIME
        into HIGH. A process that does not exist, or is somebody else's, gives a PriorityError that is a
        ProcessLookupError, or a PermissionError, too.

    Warns
    -----
    PriorityWarning
        If the process was lowered in another way than asked for, such as nice 19 in a container that forbids
        SCHED_IDLE.

    Notes
    -----
    On Linux and macOS an unprivileged process cannot be raised again once it has been lowered. One that is lower than
    "idle" or "below_normal" asks for, because it was started with ``nice -n 15``, say, is left there, and that is no
    error: :func:`get_process_priority` says what is in force.

    Examples
    --------
    >>> import multiprocessing
    >>> from nicefutures import get_process_priority, set_process_priority
    >>> with multiprocessing.get_context("spawn").Pool(1, set_process_priority, ("idle",)) as pool:
    ...     pool.apply(get_process_priority)
    <ProcessPriority.IDLE: 4>
    """
    level = parse_priority(ProcessPriority, priority)
    warn_of(backend.priority.set_process(level, _parse_pid(pid)))


def get_process_priority(pid: int | None = None) -> ProcessPriority:
    """Return the level that is nearest to what is in force for a process.

    Parameters
    ----------
    pid : int, optional
        Process id; the calling process by default.

    Returns
    -------
    ProcessPriority
        On Linux that of the main thread. Nice 7, say, is nearest to BELOW_NORMAL (nice 10).

    Raises
    ------
    ValueError
        If `pid` is not positive.
    PriorityError
        If there is no such process (a ProcessLookupError too), or it may not be looked at (a PermissionError too).

    Examples
    --------
    >>> from nicefutures import get_process_priority
    >>> get_process_priority()
    <ProcessPriority.NORMAL: 8>
    """
    return backend.priority.get_process(_parse_pid(pid))


def process_priority(priority: ProcessPriority | str) -> contextlib.AbstractContextManager[None]:
    """Context manager: this process at a priority level, and back at what it had before.

    Parameters
    ----------
    priority : ProcessPriority or str
        The level, or its name in any case.

    Raises
    ------
    ValueError
        If there is no such level.
    PriorityError
        On entering, if the level cannot be set. The process is then put back, as far as the system lets it be.

    Warns
    -----
    PriorityWarning
        On leaving, if the process cannot be put back: on Linux and macOS raising it again needs a privilege.

    Examples
    --------
    >>> from nicefutures import get_process_priority, process_priority
    >>> with process_priority("below_normal"):  # doctest: +SKIP
    ...     get_process_priority()
    <ProcessPriority.BELOW_NORMAL: 6>
    """
    level = parse_priority(ProcessPriority, priority)
    return _held(level, backend.priority.set_process, backend.priority.save_process, backend.priority.restore_process)


def set_thread_priority(priority: ThreadPriority | str) -> None:
    """Put the calling thread at a priority level.

    It can be pickled, so it serves as the initializer of anyone's worker threads.

    Parameters
    ----------
    priority : ThreadPriority or str
        The level, or its name in any case.

    Raises
    ------
    ValueError
        If there is no such level.
    PriorityError
        If the operating system does not report the level afterwards.

    Warns
    -----
    PriorityWarning
        Where threads have no priority (BSD and others), or another low level than the one asked for is in force.

    Notes
    -----
    A thread that is lower than a level below "normal" asks for, and may not be raised, is left there: no error.

    A thread that holds the GIL holds it at any priority: lowering a thread that runs Python code makes the others wait
    *longer* for it. See :class:`PriorityThreadPoolExecutor`.
    """
    warn_of(backend.priority.set_thread(parse_priority(ThreadPriority, priority)))


def get_thread_priority() -> ThreadPriority:
    """Return the level that is nearest to what is in force for the calling thread.

    Examples
    --------
    >>> from nicefutures import get_thread_priority
    >>> get_thread_priority()
    <ThreadPriority.NORMAL: 0>
    """
    return backend.priority.get_thread()


def thread_priority(priority: ThreadPriority | str) -> contextlib.AbstractContextManager[None]:
    """Context manager: the calling thread at a priority level, and back at what it had before.

    Parameters
    ----------
    priority : ThreadPriority or str
        The level, or its name in any case.

    Raises
    ------
    ValueError
        If there is no such level.
    PriorityError
        On entering, if the level cannot be set. The thread is then put back, as far as the system lets it be.

    Warns
    -----
    PriorityWarning
        On leaving, if the thread cannot be put back: on Linux raising it again needs a privilege.
    """
    level = parse_priority(ThreadPriority, priority)
    return _held(level, backend.priority.set_thread, backend.priority.save_thread, backend.priority.restore_thread)


@contextlib.contextmanager
def _held(
    level: _Level,
    set_level: Callable[[_Level], Shortfall | None],
    save: Callable[[], Any],
    restore: Callable[[Any], Shortfall | None],
) -> Iterator[None]:
    saved = save()
    try:
        warn_of(set_level(level), stacklevel=4)
    except BaseException:
        restore(saved)
        raise
    try:
        yield
    finally:
        warn_of(restore(saved), stacklevel=4)


def _parse_pid(pid: int | None) -> int | None:
    if pid is None:
        return None
    try:
        number = operator.index(pid)
    except TypeError:
        msg = f"pid must be a process id, or None for this process, not {pid!r}"
        raise TypeError(msg) from None
    if number <= 0:
        msg = f"pid must be positive, or None for this process, not {pid!r}"
        raise ValueError(msg)
    return number


def warn_of(shortfall: Shortfall | None, stacklevel: int = 3) -> None:
    """Warn, if something is missing."""
    if shortfall is not None:
        warnings.warn(PriorityWarning(shortfall), stacklevel=stacklevel)
