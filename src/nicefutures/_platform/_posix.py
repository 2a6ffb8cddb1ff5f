"""Other POSIX systems: nice for a process, nothing for a thread.

``setpriority(PRIO_PROCESS)`` is the whole process there (POSIX.1, ``setpriority``). Nice goes up to 20 on the BSDs and
to 19 elsewhere; a value beyond the end becomes the end.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from .._priority import (
    NotPermittedError,
    PriorityError,
    ProcessPriority,
    Shortfall,
    ThreadPriority,
)
from ._common import ProcessDescription, name_process, nearest, no_such_process
from ._common import unknown_cpu_delay as cpu_delay
from ._common import unknown_is_ready as is_ready
from ._common import unknown_thread_cpu_time as thread_cpu_time
from ._common import wait_for_lock as pause

__all__ = [
    "become",
    "cpu_delay",
    "describe",
    "get_process",
    "get_thread",
    "is_ready",
    "pause",
    "release_thread",
    "restore_process",
    "restore_thread",
    "save_process",
    "save_thread",
    "set_process",
    "set_thread",
    "thread_cpu_time",
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


if not TYPE_CHECKING or sys.platform != "win32":

    class _Calls:
        """The system that this process runs on."""

        def get_nice(self, pid: int) -> int:
            return os.getpriority(os.PRIO_PROCESS, pid)

        def set_nice(self, pid: int, nice: int) -> None:
            os.setpriority(os.PRIO_PROCESS, pid, nice)

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


def get_thread() -> ThreadPriority:
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
