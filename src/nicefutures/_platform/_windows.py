"""Windows: a priority class for a process, a priority level for a thread.

Some facts:

* The class holds for the whole process, threads that exist already included. A child inherits IDLE and
  BELOW_NORMAL from its parent, and no other class ("Inheritance", ``CreateProcess``).
* A thread's level is relative to the class of its process; both together make the base priority. Scheduling is strict:
  a lower base priority runs only when no higher one is ready ("Scheduling Priorities").
* REALTIME without SeIncreaseBasePriorityPrivilege becomes HIGH without an error: what was set is always read back.
* PROCESS_MODE_BACKGROUND_BEGIN and THREAD_MODE_BACKGROUND_BEGIN are not used: the first caps the working set at
  32 MiB (osquery#8149).
* A thread of low priority may hold the loader lock while it ends (crbug.com/1096203): `release_thread`.
"""

import contextlib
import enum
import functools
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Protocol

from .._priority import (
    NoSuchProcessError,
    NotPermittedError,
    PriorityError,
    ProcessPriority,
    Shortfall,
    ThreadPriority,
)
from ._common import ProcessDescription, name_process, nearest, no_such_process
from ._common import unknown_cpu_delay as cpu_delay
from ._common import unknown_is_ready as is_ready

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


if TYPE_CHECKING:
    import ctypes


class PriorityClass(enum.IntEnum):
    """Priority classes (``winbase.h``)."""

    IDLE_PRIORITY_CLASS = 0x40
    BELOW_NORMAL_PRIORITY_CLASS = 0x4000
    NORMAL_PRIORITY_CLASS = 0x20
    ABOVE_NORMAL_PRIORITY_CLASS = 0x8000
    HIGH_PRIORITY_CLASS = 0x80
    REALTIME_PRIORITY_CLASS = 0x100


_CLASSES: Final = {priority: PriorityClass[f"{priority.name}_PRIORITY_CLASS"] for priority in ProcessPriority}
_PROCESS_LEVELS: Final[dict[int, ProcessPriority]] = {value: level for level, value in _CLASSES.items()}
_THREAD_LEVELS: Final[dict[int, ThreadPriority]] = {level.value: level for level in ThreadPriority}

THREAD_PRIORITY_ERROR_RETURN: Final = 0x7FFFFFFF  # winbase.h
THREAD_QUERY_LIMITED_INFORMATION: Final = 0x0800  # winnt.h


class System(Protocol):
    """The seam to the operating system. `pid` None is the calling process; a thread id of None the calling thread."""

    def get_class(self, pid: int | None) -> int: ...
    def set_class(self, pid: int | None, priority_class: int) -> None: ...
    def threads(self, pid: int | None) -> list[int]: ...
    def get_thread_priority(self, tid: int | None = None) -> int: ...
    def set_thread_priority(self, priority: int) -> None: ...
    def thread_cycles(self, tid: int) -> int: ...


if not TYPE_CHECKING or sys.platform == "win32":

    class _Win32:
        """psutil for processes, ctypes for threads, of which psutil knows nothing."""

        def get_class(self, pid: int | None) -> int:
            import psutil

            with _as_os_error():
                return int(psutil.Process(pid).nice())

        def set_class(self, pid: int | None, priority_class: int) -> None:
            import psutil

            with _as_os_error():
                psutil.Process(pid).nice(priority_class)

        def threads(self, pid: int | None) -> list[int]:
            import psutil

            with _as_os_error():
                return [thread.id for thread in psutil.Process(pid).threads()]

        def get_thread_priority(self, tid: int | None = None) -> int:
            import ctypes

            kernel32 = _kernel32()
            if tid is None:
                result = kernel32.GetThreadPriority(kernel32.GetCurrentThread())
            else:
                with _open_thread(tid) as handle:
                    result = kernel32.GetThreadPriority(handle)
            if result == THREAD_PRIORITY_ERROR_RETURN:
                raise ctypes.WinError(ctypes.get_last_error())
            return int(result)

        def set_thread_priority(self, priority: int) -> None:
            import ctypes

            kernel32 = _kernel32()
            if not kernel32.SetThreadPriority(kernel32.GetCurrentThread(), priority):
                raise ctypes.WinError(ctypes.get_last_error())

        def thread_cycles(self, tid: int) -> int:
            import ctypes

            cycles = ctypes.c_uint64()
            with _open_thread(tid) as handle:
                if not _kernel32().QueryThreadCycleTime(handle, ctypes.byref(cycles)):
                    raise ctypes.WinError(ctypes.get_last_error())
            return cycles.value

    @contextlib.contextmanager
    def _open_thread(tid: int) -> Iterator[int]:
        import ctypes

        handle = _kernel32().OpenThread(THREAD_QUERY_LIMITED_INFORMATION, False, tid)
        if not handle:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            yield handle
        finally:
            _kernel32().CloseHandle(handle)

    @functools.cache
    def _kernel32() -> "ctypes.WinDLL":
        """Return kernel32 with the types of what is called here.

        From ``processthreadsapi.h``, ``handleapi.h`` and ``realtimeapiset.h``.
        """
        import ctypes
        from ctypes import wintypes

        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.GetCurrentThread.argtypes = ()
        kernel32.GetCurrentThread.restype = wintypes.HANDLE
        kernel32.OpenThread.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        kernel32.OpenThread.restype = wintypes.HANDLE
        kernel32.CloseHandle.argtypes = (wintypes.HANDLE,)
        kernel32.CloseHandle.restype = wintypes.BOOL
        kernel32.GetThreadPriority.argtypes = (wintypes.HANDLE,)
        kernel32.GetThreadPriority.restype = ctypes.c_int
        kernel32.SetThreadPriority.argtypes = (wintypes.HANDLE, ctypes.c_int)
        kernel32.SetThreadPriority.restype = wintypes.BOOL
        kernel32.QueryThreadCycleTime.argtypes = (wintypes.HANDLE, ctypes.POINTER(ctypes.c_uint64))
        kernel32.QueryThreadCycleTime.restype = wintypes.BOOL
        return kernel32

    @contextlib.contextmanager
    def _as_os_error() -> Iterator[None]:
        import psutil

        try:
            yield
        except (psutil.NoSuchProcess, OverflowError) as error:
            raise ProcessLookupError(str(error)) from error
        except psutil.AccessDenied as error:
            raise PermissionError(str(error)) from error

    system: System = _Win32()
else:
    system: System


# --- processes


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    wanted = _CLASSES[priority]
    requested = f"priority {priority.name} of {name_process(pid)} ({wanted.name})"
    with _explained(requested, pid):
        system.set_class(pid, wanted)
        now = system.get_class(pid)
    if now == wanted:
        return None
    reason = "Windows gave another class without an error"
    remedy = "Try a class nearer to NORMAL."
    if priority == ProcessPriority.REALTIME:
        reason += ", as it does where SeIncreaseBasePriorityPrivilege is missing"
        remedy = "Run it as administrator, or use 'high'."
    raise PriorityError(Shortfall(requested, _describe_class(now), reason, remedy))


def get_process(pid: int | None = None) -> ProcessPriority:
    with _explained(f"the priority of {name_process(pid)}", pid):
        return nearest(_PROCESS_LEVELS, system.get_class(pid))


def save_process() -> int:
    return system.get_class(None)


def restore_process(saved: int) -> Shortfall | None:
    try:
        return set_process(nearest(_PROCESS_LEVELS, saved))
    except PriorityError as error:
        return error.args[0]


def describe(pid: int | None = None) -> ProcessDescription:
    with _explained(f"the priority of {name_process(pid)}", pid):
        priority_class = system.get_class(pid)
        threads: Counter[ThreadPriority] = Counter()
        for tid in system.threads(pid):
            with contextlib.suppress(OSError):  # it ended meanwhile, or is not ours to look at
                threads[_nearest_thread(system.get_thread_priority(tid))] += 1
    return ProcessDescription(
        level=nearest(_PROCESS_LEVELS, priority_class),
        threads=dict(sorted(threads.items())),
        priority_class=PriorityClass(priority_class).name,
    )


def become(command: list[str], priority: ProcessPriority) -> int:
    """Run the command as a child, and return its exit status: no Windows process can be replaced."""
    import shutil  # here, because a worker does without
    import signal
    import subprocess

    # CreateProcess would look for an .exe only. A child inherits no class above BELOW_NORMAL.
    program = shutil.which(command[0]) or command[0]
    with subprocess.Popen([program, *command[1:]], creationflags=_CLASSES[priority]) as process:
        with contextlib.suppress(NoSuchProcessError):  # done already
            set_process(priority, process.pid)  # read back; Wine does not heed the flag
        # Ctrl-C reaches the program too, and that decides what to do.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = process.wait()
    # A crash is above 2**31, which sys.exit of older Pythons cannot pass on (python/cpython#125842); as a signed
    # number it is the same to Windows.
    return status - 2**32 if status >= 2**31 else status


# --- the calling thread


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    return _set_thread(priority.value, f"thread priority {priority.name} (THREAD_PRIORITY_{priority.name})")


def get_thread() -> ThreadPriority:
    return _nearest_thread(system.get_thread_priority())


def save_thread() -> int:
    return system.get_thread_priority()


def restore_thread(saved: int) -> Shortfall | None:
    try:
        return _set_thread(saved, f"the thread priority from before ({saved})")
    except PriorityError as error:
        return error.args[0]


def release_thread() -> None:
    """Put the calling thread back to NORMAL: it takes the loader lock when it ends, and others wait for that."""
    system.set_thread_priority(ThreadPriority.NORMAL)


def _set_thread(value: int, requested: str) -> Shortfall | None:
    try:
        system.set_thread_priority(value)
        error = None
    except OSError as refusal:
        error = refusal
    now = system.get_thread_priority()
    if now == value:
        return None
    reason = f"Windows refused it ({error})" if error else "Windows gave another level without an error"
    in_force = f"{_nearest_thread(now).name} ({now})"
    raise PriorityError(Shortfall(requested, in_force, reason, "Use a level nearer to NORMAL.")) from error


# --- what threads do


def thread_cpu_time(tid: int) -> int | None:
    """Return CPU cycles: the times that GetThreadTimes tells are whole ticks of 15.6 ms."""
    try:
        return system.thread_cycles(tid)
    except OSError:  # Wine does not count them
        return None


def pause(stop: threading.Lock, seconds: float) -> bool:
    """Sleep, with the timer of high resolution that Python has for that; the timeouts of its locks are whole ticks."""
    time.sleep(seconds)
    return stop.acquire(blocking=False)


# --- saying what went wrong


def _nearest_thread(value: int) -> ThreadPriority:
    return nearest(_THREAD_LEVELS, value)


def _describe_class(priority_class: int) -> str:
    level = nearest(_PROCESS_LEVELS, priority_class)
    return f"{level.name} ({_CLASSES[level].name})"


@contextlib.contextmanager
def _explained(requested: str, pid: int | None) -> Iterator[None]:
    """Turn what Windows refuses into a PriorityError."""
    try:
        yield
    except ProcessLookupError as error:
        raise no_such_process(requested, pid) from error
    except PermissionError as error:
        reason = f"{name_process(pid)} belongs to another user or to the system"
        raise NotPermittedError(Shortfall(requested, "as before", reason, "Run this as administrator.")) from error
