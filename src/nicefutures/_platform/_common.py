"""What several backends need; nothing of any one system."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from .._priority import NoSuchProcessError, ProcessPriority, Shortfall, ThreadPriority


class ProcessDescription(NamedTuple):
    """What the operating system says of one process.

    Attributes
    ----------
    level : ProcessPriority
        The nearest level.
    threads : dict of ThreadPriority to int, or None
        How many threads are at which level; None where the system does not tell.
    policy : str or None
        Scheduling policy of the main thread, on Linux.
    nice : int or None
        Nice value of the main thread, on POSIX.
    priority_class : str or None
        Priority class, on Windows.
    io_class : str or None
        I/O scheduling class of the main thread, on Linux.
    """

    level: ProcessPriority
    threads: dict[ThreadPriority, int] | None
    policy: str | None = None
    nice: int | None = None
    priority_class: str | None = None
    io_class: str | None = None


_Level = TypeVar("_Level")


def nearest(levels: Mapping[int, _Level], value: int) -> _Level:
    """Return the level whose number is nearest to `value`; between two, the one that is further from zero.

    Examples
    --------
    >>> nearest({0: "normal", 10: "below_normal"}, 7)
    'below_normal'
    >>> nearest({0: "normal", 10: "below_normal"}, 5)
    'below_normal'
    """
    return levels[min(levels, key=lambda number: (abs(number - value), -abs(number)))]


def name_process(pid: int | None) -> str:
    """Name the process in a message."""
    return "this process" if pid is None else f"process {pid}"


def no_such_process(requested: str, pid: int | None) -> NoSuchProcessError:
    """Return the error for a process that does not exist."""
    reason = f"there is no process with the id {pid}"
    return NoSuchProcessError(
        Shortfall(requested, "nothing", reason, "Check the process id, or whether the process has ended.")
    )


# --- for systems that do not tell, or need nothing of their own


@contextlib.contextmanager
def unknown_cpu_delay() -> Iterator[Callable[[], int]]:
    """Give a function that knows of no delay."""
    yield lambda: 0


def unknown_thread_cpu_time(tid: int) -> int | None:
    """Return that it is not known."""
    return None


def unknown_is_ready(tid: int) -> bool:
    """Return that nothing is known of it."""
    return False


def wait_for_lock(stop: threading.Lock, seconds: float) -> bool:
    """Wait for the lock: where that is as exact as to sleep."""
    return stop.acquire(timeout=seconds)
