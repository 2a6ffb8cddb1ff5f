"""Sets and reads the priority of a process and of the calling thread."""

import contextlib
import operator
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ._levels import PriorityError, PriorityWarning, ProcessPriority, Shortfall, ThreadPriority, parse_priority
from ._public import public
from ._system import backend

_Level = TypeVar("_Level", ProcessPriority, ThreadPriority)


@public
def set_process_priority(priority: ProcessPriority | str, pid: int | None = None) -> None:
    """Set the priority of a process, including all its threads.

    You can pass this function as the initializer of any process pool.

    Parameters
    ----------
    priority : ProcessPriority or str
        The priority, or its name in upper or lower case.
    pid : int, optional
        Process id; the calling process by default.

    Raises
    ------
    ValueError
        If `priority` is unknown, or `pid` is not positive.
    PriorityError
        If the operating system does not report the priority afterwards, for example because of a missing privilege. If
        the process does not exist, or belongs to another user, the error is also a ProcessLookupError or a
        PermissionError.

    Warns
    -----
    PriorityWarning
        If another low priority was set instead, such as nice 19 in a container that forbids SCHED_IDLE.

    Notes
    -----
    On Linux and macOS an unprivileged process cannot be raised again after it has been lowered. If it is already lower
    than "below_normal", for example because it was started with ``nice -n 15``, it stays there, and there is no error.
    :func:`get_process_priority` returns the real priority.

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


@public
def get_process_priority(pid: int | None = None) -> ProcessPriority:
    """Return the priority of a process.

    Parameters
    ----------
    pid : int, optional
        Process id; the calling process by default.

    Returns
    -------
    ProcessPriority
        The nearest one: nice 7, for example, is nearest to BELOW_NORMAL (nice 10). On Linux that of the main thread.

    Raises
    ------
    ValueError
        If `pid` is not positive.
    PriorityError
        If there is no such process (also a ProcessLookupError), or you may not read it (also a PermissionError).

    Examples
    --------
    >>> from nicefutures import get_process_priority
    >>> get_process_priority()
    <ProcessPriority.NORMAL: 8>
    """
    return backend.priority.get_process(_parse_pid(pid))


@public
def process_priority(priority: ProcessPriority | str) -> contextlib.AbstractContextManager[None]:
    """Context manager that sets the priority of this process, and restores it at the end.

    Parameters
    ----------
    priority : ProcessPriority or str
        The priority, or its name in upper or lower case.

    Raises
    ------
    ValueError
        If `priority` is unknown.
    PriorityError
        At the start, if the priority cannot be set. The earlier priority is then restored as far as possible.

    Warns
    -----
    PriorityWarning
        At the end, if the earlier priority cannot be restored. On Linux and macOS this needs a privilege.

    Examples
    --------
    >>> from nicefutures import get_process_priority, process_priority
    >>> with process_priority("below_normal"):  # doctest: +SKIP
    ...     get_process_priority()
    <ProcessPriority.BELOW_NORMAL: 6>
    """
    level = parse_priority(ProcessPriority, priority)
    return _held(level, backend.priority.set_process, backend.priority.save_process, backend.priority.restore_process)


@public
def set_thread_priority(priority: ThreadPriority | str) -> None:
    """Set the priority of the calling thread.

    You can pass this function as the initializer of any thread pool.

    Parameters
    ----------
    priority : ThreadPriority or str
        The priority, or its name in upper or lower case.

    Raises
    ------
    ValueError
        If `priority` is unknown.
    PriorityError
        If the operating system does not report the priority afterwards.

    Warns
    -----
    PriorityWarning
        If threads have no priority (BSD and others), or if another low priority was set instead.

    Notes
    -----
    A thread that is already lower than "below_normal", and may not be raised, stays there, and there is no error.

    If you lower a thread that runs Python code, other threads wait *longer* for the GIL while other programs are busy.
    See :class:`PriorityThreadPoolExecutor`.
    """
    warn_of(backend.priority.set_thread(parse_priority(ThreadPriority, priority)))


@public
def get_thread_priority() -> ThreadPriority:
    """Return the priority of the calling thread, or the nearest one.

    Examples
    --------
    >>> from nicefutures import get_thread_priority
    >>> get_thread_priority()
    <ThreadPriority.NORMAL: 0>
    """
    return backend.priority.get_thread()


@public
def thread_priority(priority: ThreadPriority | str) -> contextlib.AbstractContextManager[None]:
    """Context manager that sets the priority of the calling thread, and restores it at the end.

    Parameters
    ----------
    priority : ThreadPriority or str
        The priority, or its name in upper or lower case.

    Raises
    ------
    ValueError
        If `priority` is unknown.
    PriorityError
        At the start, if the priority cannot be set. The earlier priority is then restored as far as possible.

    Warns
    -----
    PriorityWarning
        At the end, if the earlier priority cannot be restored. On Linux this needs a privilege.
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
    """Warn if there is a shortfall."""
    if shortfall is not None:
        warnings.warn(PriorityWarning(shortfall), stacklevel=stacklevel)


def put_tree_at(level: ProcessPriority, pid: int) -> bool:
    """Set a process's priority, and lower its descendants; return whether it has at least that one or has ended."""
    import psutil

    try:
        backend.priority.set_process(level, pid)
        if level < ProcessPriority.NORMAL:
            for child in psutil.Process(pid).children(recursive=True):
                with contextlib.suppress(PriorityError):  # it has ended, or belongs to another user
                    backend.priority.cap_process(level, child.pid)
        return backend.priority.get_process(pid) >= level
    except (PriorityError, OSError, psutil.Error):
        return not psutil.pid_exists(pid)
