"""I/O and memory priority, EcoQoS, and a process's end with its parent's."""

import contextlib
import enum
import multiprocessing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..._levels import ProcessPriority, Shortfall
from . import seam
from .priority import IoPriority

if TYPE_CHECKING:
    import subprocess

# ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_CALL_NOT_IMPLEMENTED (winerror.h): errors of a Windows that lacks
# the function.
_NOT_THERE: Final = (1, 50, seam.ERROR_CALL_NOT_IMPLEMENTED)


class MemoryPriority(enum.IntEnum):
    """Memory priorities (``processthreadsapi.h``)."""

    MEMORY_PRIORITY_VERY_LOW = 1
    MEMORY_PRIORITY_BELOW_NORMAL = 4


_MEMORY_PRIORITIES: Final = {
    ProcessPriority.IDLE: MemoryPriority.MEMORY_PRIORITY_VERY_LOW,
    ProcessPriority.BELOW_NORMAL: MemoryPriority.MEMORY_PRIORITY_BELOW_NORMAL,
}
_IO_PRIORITIES: Final = {ProcessPriority.IDLE: IoPriority.VERY_LOW, ProcessPriority.BELOW_NORMAL: IoPriority.LOW}


def set_background(priority: ProcessPriority) -> Shortfall | None:
    if priority not in _IO_PRIORITIES:
        return None
    io_priority, memory_priority = _IO_PRIORITIES[priority], _MEMORY_PRIORITIES[priority]
    return _set_if_there(
        f"I/O priority {io_priority.name}", lambda: seam.system.set_io_priority(io_priority)
    ) or _set_if_there(memory_priority.name, lambda: seam.system.set_memory_priority(memory_priority))


def start_child(priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
    pid = popen().pid
    io_priority = _IO_PRIORITIES.get(priority, IoPriority.NORMAL)
    try:
        return _set_if_there(
            f"I/O priority {io_priority.name} of process {pid}", lambda: seam.system.set_io_priority(io_priority, pid)
        )
    except ProcessLookupError:  # the child has ended already
        return None


def set_efficiency() -> Shortfall | None:
    requested = "EcoQoS (ProcessPowerThrottling)"
    try:
        seam.system.set_power_throttling()
    except OSError as error:
        remedy = "Use Windows 10 1709 or later; from Windows 11 on it is EcoQoS."
        return Shortfall(requested, "the usual quality of service", f"Windows refused it ({error})", remedy)
    return None


def _set_if_there(requested: str, set_it: Callable[[], None]) -> Shortfall | None:
    """Set something that goes with a priority; it is no shortfall if this Windows does not have it."""
    try:
        set_it()
    except ProcessLookupError:
        raise
    except OSError as error:
        if getattr(error, "winerror", None) in _NOT_THERE:
            return None
        return Shortfall(requested, "", f"Windows refused it ({error})", "Run this as administrator.")
    return None


def end_with(lifeline: Any) -> None:
    parent = multiprocessing.parent_process()
    with contextlib.suppress(OSError):  # no more memory, or no thread
        if parent is not None:
            seam.system.end_after(parent.sentinel)
