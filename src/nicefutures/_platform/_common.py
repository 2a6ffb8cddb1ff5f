"""What several backends need; nothing of any one system."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing.context import BaseContext
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

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
        I/O scheduling class of the main thread, on Linux; I/O priority of the process, on Windows.
    """

    level: ProcessPriority
    threads: dict[ThreadPriority, int] | None
    policy: str | None = None
    nice: int | None = None
    priority_class: str | None = None
    io_class: str | None = None


# Kinds of groups.
SCOPE: Final = "systemd scope"
CGROUP: Final = "control group"
AUTOGROUP: Final = "autogroup"


class Group(NamedTuple):
    """A task group for a pool's workers.

    Attributes
    ----------
    kind : str
        `SCOPE`, `CGROUP` or `AUTOGROUP`.
    directory : str
        Of the control group to be made.
    home : str
        Directory of the control group that the parent is in.
    """

    kind: str
    directory: str = ""
    home: str = ""


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


def count_cpus() -> int:
    """Return the number of CPUs that Python says this process may use; from 3.13 on it knows the affinity."""
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def usable_cpus() -> float:
    """Return how many CPUs' time this process may use."""
    return count_cpus()


def total_memory() -> int:
    """Return how many bytes of memory the machine has."""
    import psutil  # for those who ask for a limit

    return int(psutil.virtual_memory().total)


# --- for systems that do not tell, or need nothing of their own


@contextlib.contextmanager
def unknown_cpu_delay() -> Iterator[Callable[[], int]]:
    """Give a function that knows of no delay."""
    yield lambda: 0


def unknown_thread_cpu_time(tid: int) -> int | None:
    """Return that it is not known."""
    return None


def no_shared_memory() -> None:
    """Return that there is none that would be gone by itself when processes are killed."""


def unknown_thread_waits() -> int | None:
    """Return that it is not known."""
    return None


def unknown_is_ready(tid: int) -> bool:
    """Return that nothing is known of it."""
    return False


def wait_for_lock(stop: threading.Lock, seconds: float) -> bool:
    """Wait for the lock: where that is as exact as to sleep."""
    return stop.acquire(timeout=seconds)


def unknown_ready() -> int | None:
    """Return that it is not known."""
    return None


def unknown_library_threads() -> list[int]:
    """Return that none is known."""
    return []


def get_no_threads(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    """Return that nothing is known of them."""
    return {}


def save_no_threads(tids: Iterable[int]) -> dict[int, Any]:
    """Return nothing to put back."""
    return {}


def set_no_threads(tids: Iterable[int], priority: ThreadPriority) -> None:
    """Leave them alone: the system lets a thread set its own level only."""


def restore_no_threads(saved: dict[int, Any]) -> Shortfall | None:
    """There is nothing to put back."""
    return None


def unknown_libraries(pid: int) -> set[str]:
    """Return that none is known."""
    return set()


def unknown_oom_kills() -> int | None:
    """Return that it is not known."""
    return None


# --- for systems that rank all programs together


def no_group_needed() -> None:
    """Return that there is nothing to leave."""


def join_no_group(group: Group, registry: Any) -> Shortfall | None:
    """Nothing to join."""
    return None


def no_keeper_needed(context: BaseContext, group: Group) -> NoReturn:
    """There is no group to keep."""
    raise AssertionError(group)
