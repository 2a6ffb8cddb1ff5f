"""No priorities: all that runs is taken to be at NORMAL, and no other level is to be had."""

import functools
import threading
from collections.abc import Callable
from typing import Final

from ..._levels import PriorityError, ProcessPriority, Shortfall, ThreadPriority
from ..common import Popen, ProcessDescription, name_process, start_and_set

_REASON: Final = "not supported: nothing is known of this system's priorities"
_REMEDY: Final = "Leave the level at 'normal', or set it by the system's own means."


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    if priority == ProcessPriority.NORMAL:
        return None
    raise PriorityError(Shortfall(f"priority {priority.name} of {name_process(pid)}", "", _REASON, _REMEDY))


def cap_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    return None if get_process(pid) <= priority else set_process(priority, pid)


def start(priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
    start_and_set(popen, functools.partial(set_process, priority), tell)


def get_process(pid: int | None = None) -> ProcessPriority:
    return ProcessPriority.NORMAL


def save_process() -> None:
    """Nothing to save: no process is ever changed."""


def restore_process(saved: None) -> Shortfall | None:
    """Nothing to put back: no process is ever changed."""
    return None


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    if priority == ThreadPriority.NORMAL:
        return None
    return Shortfall(f"thread priority {priority.name}", "", _REASON, _REMEDY)


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    return ThreadPriority.NORMAL


def save_thread() -> None:
    """Nothing to save: no thread is ever changed."""


def restore_thread(saved: None) -> Shortfall | None:
    """Nothing to put back: no thread is ever changed."""
    return None


# No thread is ever changed.
release_thread: Final = None


def describe(pid: int | None = None) -> ProcessDescription:
    return ProcessDescription(level=get_process(pid), threads=None)
