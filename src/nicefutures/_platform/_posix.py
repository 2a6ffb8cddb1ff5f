"""Other POSIX systems: nice for a process, nothing for a thread.

``setpriority(PRIO_PROCESS)`` is the whole process there (POSIX.1, ``setpriority``). Nice goes up to 20 on the BSDs and
to 19 elsewhere; a value beyond the end becomes the end. RLIMIT_AS is the whole address space (POSIX.1, ``getrlimit``).
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

from .._priority import (
    NotPermittedError,
    PriorityError,
    ProcessPriority,
    Shortfall,
    ThreadPriority,
)
from ._common import ProcessDescription, name_process, nearest, no_such_process, total_memory, usable_cpus
from ._common import get_no_threads as get_threads
from ._common import join_no_group as join_group
from ._common import no_group_needed as find_group
from ._common import no_keeper_needed as open_keeper
from ._common import no_shared_memory as shared_memory
from ._common import restore_no_threads as restore_threads
from ._common import save_no_threads as save_threads
from ._common import set_no_threads as set_threads
from ._common import unknown_cpu_delay as cpu_delay
from ._common import unknown_is_ready as is_ready
from ._common import unknown_libraries as loaded_libraries
from ._common import unknown_library_threads as library_threads
from ._common import unknown_oom_kills as count_oom_kills
from ._common import unknown_ready as count_ready
from ._common import unknown_thread_cpu_time as thread_cpu_time
from ._common import unknown_thread_waits as thread_waits
from ._common import wait_for_lock as pause

__all__ = [
    "become",
    "count_oom_kills",
    "count_ready",
    "cpu_delay",
    "describe",
    "find_group",
    "get_process",
    "get_thread",
    "get_threads",
    "is_ready",
    "join_group",
    "library_threads",
    "loaded_libraries",
    "memory_in_use",
    "memory_unused",
    "open_keeper",
    "open_memory_limit",
    "pause",
    "release_thread",
    "restore_process",
    "restore_thread",
    "restore_threads",
    "save_process",
    "save_thread",
    "save_threads",
    "set_background",
    "set_efficiency",
    "set_process",
    "set_thread",
    "set_threads",
    "shared_memory",
    "thread_cpu_time",
    "thread_waits",
    "total_memory",
    "usable_cpus",
]

_NICE: Final = {
    ProcessPriority.IDLE: 20,
    ProcessPriority.BELOW_NORMAL: 10,
    ProcessPriority.NORMAL: 0,
    ProcessPriority.ABOVE_NORMAL: -5,
    ProcessPriority.HIGH: -10,
}
_LEVELS: Final = {nice: level for level, nice in _NICE.items()}
_LAST_BUT_ONE_NICE: Final = 19


class System(Protocol):
    """The seam to the operating system. `pid` 0 is the calling process."""

    def get_nice(self, pid: int) -> int: ...
    def set_nice(self, pid: int, nice: int) -> None: ...
    def get_address_limit(self) -> tuple[int, int]: ...
    def set_address_limit(self, limits: tuple[int, int]) -> None: ...
    def address_space(self) -> int: ...
    def resident(self) -> int: ...


if not TYPE_CHECKING or sys.platform != "win32":

    class _Calls:
        """The system that this process runs on."""

        def get_nice(self, pid: int) -> int:
            return os.getpriority(os.PRIO_PROCESS, pid)

        def set_nice(self, pid: int, nice: int) -> None:
            os.setpriority(os.PRIO_PROCESS, pid, nice)

        def get_address_limit(self) -> tuple[int, int]:
            import resource  # for those who ask for a limit

            return resource.getrlimit(resource.RLIMIT_AS)

        def set_address_limit(self, limits: tuple[int, int]) -> None:
            import resource

            resource.setrlimit(resource.RLIMIT_AS, limits)

        def address_space(self) -> int:
            import psutil

            return int(psutil.Process().memory_info().vms)

        def resident(self) -> int:
            import psutil

            return int(psutil.Process().memory_info().rss)

    system: System = _Calls()
else:
    system: System


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    requested = f"priority {priority.name} of {name_process(pid)}"
    if priority not in _NICE:
        now = _level(_get_nice(requested, pid))
        raise PriorityError(
            Shortfall(requested, now, "this system has no such level for a process", "Use 'high' or a lower level.")
        )
    nice = _NICE[priority]
    requested += f" (nice {nice})"
    with _explained(requested, pid):
        system.set_nice(pid or 0, nice)
    now_nice = _get_nice(requested, pid)
    if min(nice, _LAST_BUT_ONE_NICE) != min(now_nice, _LAST_BUT_ONE_NICE):
        reason = "the system accepted the call and did something else"
        raise PriorityError(Shortfall(requested, _level(now_nice), reason, "Ask whoever runs this machine."))
    return None


def get_process(pid: int | None = None) -> ProcessPriority:
    return nearest(_LEVELS, _get_nice(f"the priority of {name_process(pid)}", pid))


def save_process() -> int:
    return system.get_nice(0)


def restore_process(saved: int) -> Shortfall | None:
    requested = f"the priority of this process from before (nice {saved})"
    try:
        with _explained(requested, None):
            system.set_nice(0, saved)
    except PriorityError as error:
        return error.args[0]
    return None


def describe(pid: int | None = None) -> ProcessDescription:
    nice = _get_nice(f"the priority of {name_process(pid)}", pid)
    return ProcessDescription(level=nearest(_LEVELS, nice), threads=None, nice=nice)


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    return Shortfall(
        f"thread priority {priority.name}",
        f"that of the whole process, nice {system.get_nice(0)}",
        "not supported: this system has no priority for a single thread that a program may set",
        "Use LowPriorityProcessPoolExecutor or set_process_priority instead.",
    )


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    return _AS_THREAD[get_process()]


def save_thread() -> None:
    """Nothing to save: no thread is ever changed."""


def restore_thread(saved: None) -> Shortfall | None:
    """Nothing to put back: no thread is ever changed."""


def release_thread() -> None:
    """Nothing to do: no thread is ever changed."""


def become(command: list[str], priority: ProcessPriority) -> int:
    """Replace this process by the command; does not return."""
    # Python ignores these, and a program inherits what is ignored (signal(7)): a pipe's end would not end it.
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvp(command[0], command)


# --- what a process takes


def set_background(priority: ProcessPriority) -> Shortfall | None:
    """Nothing more to set: POSIX has no priority of I/O or memory."""
    return None


def set_efficiency() -> Shortfall | None:
    """Nothing to ask for: POSIX knows one kind of core."""
    return None


def memory_in_use() -> int:
    return system.address_space()


def memory_unused() -> int:
    return max(0, system.address_space() - system.resident())


class ResourceLimit:
    """A soft limit of this process. One that is there meanwhile counts if it is stricter, and is put back by `lift`.

    Parameters
    ----------
    get, set_ : callable
        Read and change the soft and the hard limit.
    """

    def __init__(self, get: Callable[[], tuple[int, int]], set_: Callable[[tuple[int, int]], None]) -> None:
        self._get = get
        self._set = set_
        self._before = self._ours = get()

    def hold(self, limit: int) -> None:
        self._before = self._get()
        stricter = [each for each in self._before if each >= 0]  # RLIM_INFINITY is -1 on some systems, else huge
        self._ours = (min([limit, *stricter]), self._before[1])
        self._set(self._ours)

    def lift(self) -> None:
        self._set(self._before)

    def in_force(self) -> bool:
        return self._get()[0] == self._ours[0]


def open_memory_limit() -> ResourceLimit:
    return ResourceLimit(system.get_address_limit, system.set_address_limit)


_AS_THREAD: Final = {
    ProcessPriority.IDLE: ThreadPriority.IDLE,
    ProcessPriority.BELOW_NORMAL: ThreadPriority.BELOW_NORMAL,
    ProcessPriority.NORMAL: ThreadPriority.NORMAL,
    ProcessPriority.ABOVE_NORMAL: ThreadPriority.ABOVE_NORMAL,
    ProcessPriority.HIGH: ThreadPriority.HIGHEST,
}


def _get_nice(requested: str, pid: int | None) -> int:
    with _explained(requested, pid):
        return system.get_nice(pid or 0)


def _level(nice: int) -> str:
    return f"{nearest(_LEVELS, nice).name} (nice {nice})"


@contextlib.contextmanager
def _explained(requested: str, pid: int | None) -> Iterator[None]:
    """Turn what the system refuses into a PriorityError."""
    try:
        yield
    except (ProcessLookupError, OverflowError) as error:
        raise no_such_process(requested, pid) from error
    except PermissionError as error:
        in_force = _level(system.get_nice(pid or 0))
        if error.errno == errno.EACCES:
            reason = "an unprivileged process may not raise a priority"
            raise PriorityError(Shortfall(requested, in_force, reason, "Run it as root (sudo).")) from error
        reason = f"{name_process(pid)} belongs to another user"
        remedy = "Run this as that user or as root (sudo)."
        raise NotPermittedError(Shortfall(requested, in_force, reason, remedy)) from error
