"""What several systems need; nothing of any one of them."""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from .._levels import NoSuchProcessError, PriorityError, ProcessPriority, Shortfall, ThreadPriority

if TYPE_CHECKING:
    import subprocess


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
    state : str or None
        `MAIN_THREAD_ENDED` or `THREADS_UNKNOWN`, on Linux; None for an ordinary process.
    """

    level: ProcessPriority
    threads: dict[ThreadPriority, int] | None
    policy: str | None = None
    nice: int | None = None
    priority_class: str | None = None
    io_class: str | None = None
    state: str | None = None


# States of a process.
MAIN_THREAD_ENDED: Final = "main thread ended"
THREADS_UNKNOWN: Final = "threads unknown"

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
    reason = f"no process with PID {pid}"
    return NoSuchProcessError(Shortfall(requested, "", reason, "Check the PID, and whether the process has ended."))


class ProcessEndedError(NoSuchProcessError):
    """Nothing is left of the process but its exit status."""


def process_ended(requested: str, pid: int | None) -> ProcessEndedError:
    """Return the error for a zombie."""
    reason = f"process {pid} has ended, and its parent has not read its exit status yet (a zombie)"
    return ProcessEndedError(Shortfall(requested, "", reason, "Ignore it: it uses no CPU."))


class Popen(Protocol):
    """Starts a process that has been decided on, with a few more of the options of `subprocess.Popen`."""

    def __call__(self, *, creationflags: int = 0) -> "subprocess.Popen[Any]": ...


def start_and_set(
    popen: Callable[[], "subprocess.Popen[Any]"],
    set_process: Callable[[int], Shortfall | None],
    tell: Callable[[Shortfall], None],
) -> None:
    """Start a process, and set its level from outside."""
    process = popen()
    try:
        shortfall = set_process(process.pid)
    except NoSuchProcessError:  # it has ended already
        return
    except PriorityError as error:
        shortfall = error.args[0]
    if shortfall is not None:
        tell(shortfall)


def count_cpus() -> int:
    """Return the number of CPUs that Python says this process may use; from 3.13 on it knows the affinity."""
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1
