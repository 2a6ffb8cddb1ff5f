"""Types and functions that several systems share."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

from .._levels import NoSuchProcessError, PriorityError, ProcessPriority, Shortfall, ThreadPriority

if TYPE_CHECKING:
    import subprocess


class ProcessDescription(NamedTuple):
    """The scheduling of one process, as the operating system reports it."""

    level: ProcessPriority  # the nearest one
    threads: dict[ThreadPriority, int] | None  # number at each priority; None if the system does not tell
    policy: str | None = None  # scheduling policy of the main thread, on Linux
    nice: int | None = None  # of the main thread, on POSIX
    priority_class: str | None = None  # on Windows
    io_class: str | None = None  # class of the main thread, on Linux; I/O priority of the process, on Windows
    state: str | None = None  # `MAIN_THREAD_ENDED` or `THREADS_UNKNOWN`, on Linux; None for an ordinary process


# States of a process.
MAIN_THREAD_ENDED: Final = "main thread ended"
THREADS_UNKNOWN: Final = "threads unknown"

# Kinds of groups.
SCOPE: Final = "systemd scope"
CGROUP: Final = "control group"
AUTOGROUP: Final = "autogroup"


class Group(NamedTuple):
    """A task group for a pool's workers."""

    kind: str  # `SCOPE`, `CGROUP` or `AUTOGROUP`
    directory: str = ""  # of the new control group
    home: str = ""  # directory of the parent's control group


_Level = TypeVar("_Level")
_T = TypeVar("_T")


def nearest(levels: Mapping[int, _Level], value: int) -> _Level:
    """Return the level whose number is nearest to `value`; of two equally near ones, the one further from zero.

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
    """The process has ended, and only its exit status remains."""


def process_ended(requested: str, pid: int | None) -> ProcessEndedError:
    """Return the error for a zombie."""
    reason = f"process {pid} has ended, and its parent has not read its exit status yet (a zombie)"
    return ProcessEndedError(Shortfall(requested, "", reason, "Ignore it: it uses no CPU."))


class Popen(Protocol):
    """Starts a given program, with additional options of `subprocess.Popen`."""

    def __call__(self, *, creationflags: int = 0) -> "subprocess.Popen[Any]": ...


def start_and_set(
    popen: Callable[[], "subprocess.Popen[Any]"],
    set_process: Callable[[int], Shortfall | None],
    tell: Callable[[Shortfall], None],
) -> None:
    """Start a process, and then set its priority from this process."""
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
    """Return the number of CPUs that this process may use, by Python; from 3.13 on Python respects the affinity."""
    with contextlib.suppress(OSError):  # a sandbox forbids sched_getaffinity
        return getattr(os, "process_cpu_count", os.cpu_count)() or 1
    return os.cpu_count() or 1


class CannotTellError(Exception):
    """A question that this system cannot answer, with the reason, and how to solve the problem, for a message."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


def answering(ask: Callable[[], _T], reason: str, remedy: str) -> Callable[[], _T]:
    """Return `ask`, if this system can answer it; otherwise raise a CannotTellError."""
    try:
        ask()
    except (OSError, AttributeError, LookupError, ValueError) as error:  # no such file or function, or another format
        reason += f" ({error})"
        raise CannotTellError(reason, remedy) from error
    return ask


class Usage(NamedTuple):
    """CPU time of a process or a thread."""

    # Its start time, in a unit of the system: it differs between two processes that had the same id, and no process has
    # a lower one than the process that started it.
    key: float
    parent: int  # id of the process that started it
    seconds: float  # CPU time that it has used
    of_children: float  # CPU time in s of its ended children and their ended children; 0 if the system does not tell
    threads: int  # number of its threads
    counts: bool  # it is a program at a priority that is not low; False for the kernel's own threads
