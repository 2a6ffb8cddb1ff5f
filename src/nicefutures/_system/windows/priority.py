"""The priority class of a process, and the priority level of the calling thread."""

import contextlib
import enum
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from ..._levels import NotPermittedError, PriorityError, ProcessPriority, Shortfall, ThreadPriority
from ..common import Popen, ProcessDescription, name_process, nearest, no_such_process, start_and_set
from . import seam


class PriorityClass(enum.IntEnum):
    """Priority classes (``winbase.h``)."""

    IDLE_PRIORITY_CLASS = 0x40
    BELOW_NORMAL_PRIORITY_CLASS = 0x4000
    NORMAL_PRIORITY_CLASS = 0x20
    ABOVE_NORMAL_PRIORITY_CLASS = 0x8000
    HIGH_PRIORITY_CLASS = 0x80
    REALTIME_PRIORITY_CLASS = 0x100


class IoPriority(enum.IntEnum):
    """Priorities of a process's I/O (``IO_PRIORITY_HINT``, ``wdm.h``)."""

    VERY_LOW = 0
    LOW = 1
    NORMAL = 2
    HIGH = 3


CLASSES: Final = {priority: PriorityClass[f"{priority.name}_PRIORITY_CLASS"] for priority in ProcessPriority}
_PROCESS_LEVELS: Final[dict[int, ProcessPriority]] = {value: level for level, value in CLASSES.items()}
_THREAD_LEVELS: Final[dict[int, ThreadPriority]] = {level.value: level for level in ThreadPriority}


# --- processes


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    wanted = CLASSES[priority]
    requested = f"priority {priority.name} of {name_process(pid)} ({wanted.name})"
    with _explained(requested, pid):
        seam.system.set_class(pid, wanted)
        now = seam.system.get_class(pid)
    if now == wanted or nearest(_PROCESS_LEVELS, now) < priority < ProcessPriority.NORMAL:
        return None
    reason = "Windows gave another class without an error"
    remedy = "Try a class nearer to NORMAL."
    if priority == ProcessPriority.REALTIME:
        reason += ", as it does where SeIncreaseBasePriorityPrivilege is missing"
        remedy = "Run it as administrator, or use 'high'."
    raise PriorityError(Shortfall(requested, _describe_class(now), reason, remedy))


def cap_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    return None if get_process(pid) <= priority else set_process(priority, pid)


def start(priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
    # A child inherits no class above BELOW_NORMAL. `set_process` follows, because Wine ignores the flag.
    at_level = functools.partial(popen, creationflags=CLASSES[priority])
    start_and_set(at_level, functools.partial(set_process, priority), tell)


def get_process(pid: int | None = None) -> ProcessPriority:
    with _explained(f"the priority of {name_process(pid)}", pid, "read"):
        return nearest(_PROCESS_LEVELS, seam.system.get_class(pid))


def save_process() -> int:
    return seam.system.get_class(None)


def restore_process(saved: int) -> Shortfall | None:
    try:
        return set_process(nearest(_PROCESS_LEVELS, saved))
    except PriorityError as error:
        return error.args[0]._replace(action="restore")


def describe(pid: int | None = None) -> ProcessDescription:
    with _explained(f"the priority of {name_process(pid)}", pid, "read"):
        priority_class = seam.system.get_class(pid)
        threads: Counter[ThreadPriority] = Counter()
        for tid in seam.system.threads(pid):
            with contextlib.suppress(OSError):  # it ended meanwhile, or may not be opened
                threads[nearest_thread(seam.system.get_thread_priority(tid))] += 1
    return ProcessDescription(
        level=nearest(_PROCESS_LEVELS, priority_class),
        threads=dict(sorted(threads.items())),
        priority_class=PriorityClass(priority_class).name,
        io_class=_io_class(pid),
    )


def _io_class(pid: int | None) -> str | None:
    try:
        return IoPriority(seam.system.get_io_priority(pid)).name.lower()
    except (OSError, ValueError):  # Wine has none
        return None


# --- the calling thread


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    return _set_thread(priority.value, f"thread priority {priority.name} (THREAD_PRIORITY_{priority.name})")


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    return nearest_thread(seam.system.get_thread_priority(None if thread is None else thread.native_id))


def save_thread() -> int:
    return seam.system.get_thread_priority()


def restore_thread(saved: int) -> Shortfall | None:
    try:
        return _set_thread(saved, f"the thread priority ({saved})")
    except PriorityError as error:
        return error.args[0]._replace(action="restore")


def release_thread() -> None:
    """Set the calling thread to NORMAL: when it ends it takes the loader lock, for which other threads wait."""
    seam.system.set_thread_priority(ThreadPriority.NORMAL)


def _set_thread(value: int, requested: str) -> Shortfall | None:
    try:
        seam.system.set_thread_priority(value)
        error = None
    except OSError as refusal:
        error = refusal
    now = seam.system.get_thread_priority()
    if now == value or now < value < ThreadPriority.NORMAL:
        return None
    reason = f"Windows refused it ({error})" if error else "Windows gave another level without an error"
    in_force = f"{nearest_thread(now).name} ({now})"
    raise PriorityError(Shortfall(requested, in_force, reason, "Use a level nearer to NORMAL.")) from error


# --- explaining errors


def nearest_thread(value: int) -> ThreadPriority:
    return nearest(_THREAD_LEVELS, value)


def _describe_class(priority_class: int) -> str:
    level = nearest(_PROCESS_LEVELS, priority_class)
    return f"{level.name} ({CLASSES[level].name})"


@contextlib.contextmanager
def _explained(requested: str, pid: int | None, action: str = "set") -> Iterator[None]:
    """Turn an error of Windows into a PriorityError."""
    try:
        yield
    except ProcessLookupError as error:
        raise no_such_process(requested, pid) from error
    except PermissionError as error:
        reason = f"{name_process(pid)} belongs to another user or to the system"
        raise NotPermittedError(Shortfall(requested, "", reason, "Run this as administrator.", action)) from error
