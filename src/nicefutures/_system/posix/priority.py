"""Nice for a process, nothing for a thread."""

import contextlib
import errno
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Final

from ..._levels import NotPermittedError, PriorityError, ProcessPriority, Shortfall, ThreadPriority
from ..common import Popen, ProcessDescription, name_process, nearest, no_such_process, start_and_set
from . import seam

_NICE: Final = {
    ProcessPriority.IDLE: 20,
    ProcessPriority.BELOW_NORMAL: 10,
    ProcessPriority.NORMAL: 0,
    ProcessPriority.ABOVE_NORMAL: -5,
    ProcessPriority.HIGH: -10,
}
_LEVELS: Final = {nice: level for level, nice in _NICE.items()}
_LAST_BUT_ONE_NICE: Final = 19
_HIGHEST_NICE: Final = -20
_AS_THREAD: Final = {
    ProcessPriority.IDLE: ThreadPriority.IDLE,
    ProcessPriority.BELOW_NORMAL: ThreadPriority.BELOW_NORMAL,
    ProcessPriority.NORMAL: ThreadPriority.NORMAL,
    ProcessPriority.ABOVE_NORMAL: ThreadPriority.ABOVE_NORMAL,
    ProcessPriority.HIGH: ThreadPriority.HIGHEST,
}


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    requested = f"priority {priority.name} of {name_process(pid)}"
    if priority not in _NICE:
        now = _level(_get_nice(requested, pid))
        raise PriorityError(
            Shortfall(requested, now, "this system has no such level for a process", "Use 'high' or a lower level.")
        )
    nice = _NICE[priority]
    requested += f" (nice {nice})"
    try:
        with _explained(requested, pid):
            seam.system.set_nice(pid or 0, nice)
    except PriorityError:
        if priority < ProcessPriority.NORMAL and _is_lower(pid, nice):
            return None
        raise
    now_nice = _get_nice(requested, pid)
    if min(nice, _LAST_BUT_ONE_NICE) != min(now_nice, _LAST_BUT_ONE_NICE):
        reason = "the system accepted the call and did something else"
        raise PriorityError(Shortfall(requested, _level(now_nice), reason, "Ask the administrator of this machine."))
    return None


def cap_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    nice = min(_NICE.get(priority, _HIGHEST_NICE), _LAST_BUT_ONE_NICE)
    if _get_nice(f"the priority of {name_process(pid)}", pid) >= nice:
        return None
    return set_process(priority, pid)


def start(priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
    start_and_set(popen, functools.partial(set_process, priority), tell)


def get_process(pid: int | None = None) -> ProcessPriority:
    return nearest(_LEVELS, _get_nice(f"the priority of {name_process(pid)}", pid))


def save_process() -> int:
    return seam.system.get_nice(0)


def restore_process(saved: int) -> Shortfall | None:
    requested = f"the priority of this process (nice {saved})"
    try:
        with _explained(requested, None):
            seam.system.set_nice(0, saved)
    except PriorityError as error:
        return error.args[0]._replace(action="restore")
    return None


def describe(pid: int | None = None) -> ProcessDescription:
    nice = _get_nice(f"the priority of {name_process(pid)}", pid)
    return ProcessDescription(level=nearest(_LEVELS, nice), threads=None, nice=nice)


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    return Shortfall(
        f"thread priority {priority.name}",
        f"that of the whole process, nice {seam.system.get_nice(0)}",
        "not supported: this system has no priority for a single thread that a program may set",
        "Use LowPriorityProcessPoolExecutor or set_process_priority instead.",
    )


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    return _AS_THREAD[get_process()]


def save_thread() -> None:
    """Nothing to save: no thread is ever changed."""


def restore_thread(saved: None) -> Shortfall | None:
    """Nothing to restore: no thread is ever changed."""


# No thread is ever changed.
release_thread: Final = None


def _get_nice(requested: str, pid: int | None) -> int:
    with _explained(requested, pid):
        return seam.system.get_nice(pid or 0)


def _is_lower(pid: int | None, nice: int) -> bool:
    try:
        return seam.system.get_nice(pid or 0) >= nice
    except (OSError, OverflowError):
        return False


def _level(nice: int) -> str:
    return f"{nearest(_LEVELS, nice).name} (nice {nice})"


@contextlib.contextmanager
def _explained(requested: str, pid: int | None) -> Iterator[None]:
    """Turn an error of the system into a PriorityError."""
    try:
        yield
    except (ProcessLookupError, OverflowError) as error:
        raise no_such_process(requested, pid) from error
    except PermissionError as error:
        in_force = _level(seam.system.get_nice(pid or 0))
        if error.errno == errno.EACCES:
            reason = "an unprivileged process may not raise a priority"
            raise PriorityError(Shortfall(requested, in_force, reason, "Run it as root (sudo).")) from error
        reason = f"{name_process(pid)} belongs to another user"
        remedy = "Run this as that user or as root (sudo)."
        raise NotPermittedError(Shortfall(requested, in_force, reason, remedy)) from error
