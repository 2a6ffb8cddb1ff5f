"""Windows: a priority class for a process, a priority level for a thread.

Some facts:

* The class holds for the whole process, threads that exist already included. A child inherits IDLE and
  BELOW_NORMAL from its parent, and no other class ("Inheritance", ``CreateProcess``).
* A thread's level is relative to the class of its process; both together make the base priority. Scheduling is strict:
  a lower base priority runs only when no higher one is ready ("Scheduling Priorities").
* REALTIME without SeIncreaseBasePriorityPrivilege becomes HIGH without an error: what was set is always read back.
* PROCESS_MODE_BACKGROUND_BEGIN and THREAD_MODE_BACKGROUND_BEGIN are not used: the first caps the working set at
  32 MiB (osquery#8149).
* A job object limits what its processes may commit; what is beyond fails as if the system were out of memory
  (``JOBOBJECT_EXTENDED_LIMIT_INFORMATION``). A process cannot leave its job, but jobs nest, and limits change
  ("Nested Jobs", Windows 8).
* The memory priority says whose pages are taken first (``SetProcessInformation``, Windows 8); EcoQoS is for efficient
  cores and clocks ("Quality of Service", Windows 10 1709).
* A thread of low priority may hold the loader lock while it ends (crbug.com/1096203): `release_thread`.
"""

import contextlib
import enum
import functools
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from .._priority import (
    NoSuchProcessError,
    NotPermittedError,
    PriorityError,
    ProcessPriority,
    Shortfall,
    ThreadPriority,
)
from ._common import ProcessDescription, count_cpus, name_process, nearest, no_such_process, total_memory
from ._common import join_no_group as join_group
from ._common import no_group_needed as find_group
from ._common import no_keeper_needed as open_keeper
from ._common import unknown_cpu_delay as cpu_delay
from ._common import unknown_is_ready as is_ready
from ._common import unknown_oom_kills as count_oom_kills
from ._common import unknown_ready as count_ready
from ._common import unknown_thread_waits as thread_waits

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


if TYPE_CHECKING:
    import ctypes

    from . import _windows_structures as structures


class PriorityClass(enum.IntEnum):
    """Priority classes (``winbase.h``)."""

    IDLE_PRIORITY_CLASS = 0x40
    BELOW_NORMAL_PRIORITY_CLASS = 0x4000
    NORMAL_PRIORITY_CLASS = 0x20
    ABOVE_NORMAL_PRIORITY_CLASS = 0x8000
    HIGH_PRIORITY_CLASS = 0x80
    REALTIME_PRIORITY_CLASS = 0x100


class MemoryPriority(enum.IntEnum):
    """Memory priorities (``processthreadsapi.h``)."""

    MEMORY_PRIORITY_VERY_LOW = 1
    MEMORY_PRIORITY_BELOW_NORMAL = 4


class IoPriority(enum.IntEnum):
    """Priorities of a process's I/O (``IO_PRIORITY_HINT``, ``wdm.h``)."""

    VERY_LOW = 0
    LOW = 1
    NORMAL = 2
    HIGH = 3


_CLASSES: Final = {priority: PriorityClass[f"{priority.name}_PRIORITY_CLASS"] for priority in ProcessPriority}
_PROCESS_LEVELS: Final[dict[int, ProcessPriority]] = {value: level for level, value in _CLASSES.items()}
_THREAD_LEVELS: Final[dict[int, ThreadPriority]] = {level.value: level for level in ThreadPriority}

THREAD_PRIORITY_ERROR_RETURN: Final = 0x7FFFFFFF  # winbase.h
# winnt.h
THREAD_SET_INFORMATION: Final = 0x0020
THREAD_QUERY_INFORMATION: Final = 0x0040
THREAD_QUERY_LIMITED_INFORMATION: Final = 0x0800
THREAD_QUERY_SET_WIN32_START_ADDRESS: Final = 9  # ThreadQuerySetWin32StartAddress, winternl.h and ntddk.h
GET_MODULE_HANDLE_EX_FLAGS: Final = 0x2 | 0x4  # UNCHANGED_REFCOUNT, FROM_ADDRESS; libloaderapi.h
_LONGEST_PATH: Final = 32_767

PROCESS_MEMORY_PRIORITY: Final = 0  # PROCESS_INFORMATION_CLASS, processthreadsapi.h
PROCESS_POWER_THROTTLING: Final = 4
POWER_THROTTLING_EXECUTION_SPEED: Final = 1
JOB_OBJECT_EXTENDED_LIMIT_INFORMATION: Final = 9  # JOBOBJECTINFOCLASS, winnt.h
JOB_OBJECT_LIMIT_PROCESS_MEMORY: Final = 0x100
# ERROR_INVALID_FUNCTION, ERROR_NOT_SUPPORTED, ERROR_CALL_NOT_IMPLEMENTED (winerror.h): what a Windows says that does
# not have what it is asked for.
_NOT_THERE: Final = (1, 50, 120)


class System(Protocol):
    """The seam to the operating system. `pid` None is the calling process; a thread id of None the calling thread."""

    def get_class(self, pid: int | None) -> int: ...
    def set_class(self, pid: int | None, priority_class: int) -> None: ...
    def threads(self, pid: int | None) -> list[int]: ...
    def get_thread_priority(self, tid: int | None = None) -> int: ...
    def set_thread_priority(self, priority: int, tid: int | None = None) -> None: ...
    def start_of_thread(self, tid: int) -> str: ...
    def thread_cycles(self, tid: int) -> int: ...
    def get_io_priority(self, pid: int | None) -> int: ...
    def set_io_priority(self, priority: int) -> None: ...
    def set_memory_priority(self, priority: int) -> None: ...
    def set_power_throttling(self) -> None: ...
    def open_job(self) -> int: ...
    def get_job_limit(self, job: int) -> int | None: ...
    def set_job_limit(self, job: int, limit: int | None) -> None: ...
    def committed(self) -> int: ...
    def libraries(self, pid: int) -> set[str]: ...
    def affinity(self) -> int: ...


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

        def set_thread_priority(self, priority: int, tid: int | None = None) -> None:
            kernel32 = _kernel32()
            if tid is None:
                _checked(kernel32.SetThreadPriority(kernel32.GetCurrentThread(), priority))
            else:
                with _open_thread(tid, THREAD_SET_INFORMATION) as handle:
                    _checked(kernel32.SetThreadPriority(handle, priority))

        def start_of_thread(self, tid: int) -> str:
            """Return the file name of the library in which a thread starts; empty if it is in none."""
            import ctypes
            from ctypes import wintypes

            address, module = ctypes.c_void_p(), wintypes.HMODULE()
            query = ctypes.WinDLL("ntdll").NtQueryInformationThread
            query.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.ULONG, wintypes.LPVOID)
            query.restype = wintypes.LONG
            with _open_thread(tid, THREAD_QUERY_INFORMATION) as handle:
                query(handle, THREAD_QUERY_SET_WIN32_START_ADDRESS, ctypes.byref(address), ctypes.sizeof(address), None)
            kernel32, name = _kernel32(), ctypes.create_unicode_buffer(_LONGEST_PATH)
            # A library that is unloaded meanwhile is none of those that compute.
            if kernel32.GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAGS, address, ctypes.byref(module)):
                kernel32.GetModuleFileNameW(module, name, len(name))
            return name.value

        def thread_cycles(self, tid: int) -> int:
            import ctypes

            cycles = ctypes.c_uint64()
            with _open_thread(tid) as handle:
                if not _kernel32().QueryThreadCycleTime(handle, ctypes.byref(cycles)):
                    raise ctypes.WinError(ctypes.get_last_error())
            return cycles.value

        def get_io_priority(self, pid: int | None) -> int:
            import psutil

            with _as_os_error():
                priority: Any = psutil.Process(pid).ionice()  # a number here, whatever its stubs say
                return int(priority)

        def set_io_priority(self, priority: int) -> None:
            import psutil

            with _as_os_error():
                psutil.Process().ionice(priority)

        def set_memory_priority(self, priority: int) -> None:
            from . import _windows_structures as structures

            _set_information(PROCESS_MEMORY_PRIORITY, structures.MemoryPriorityInformation(priority))

        def set_power_throttling(self) -> None:
            from . import _windows_structures as structures

            speed = POWER_THROTTLING_EXECUTION_SPEED
            state = structures.PowerThrottlingState(Version=1, ControlMask=speed, StateMask=speed)
            _set_information(PROCESS_POWER_THROTTLING, state)

        def open_job(self) -> int:
            kernel32 = _kernel32()
            job = _checked(kernel32.CreateJobObjectW(None, None))
            _checked(kernel32.AssignProcessToJobObject(job, kernel32.GetCurrentProcess()))
            return job

        def get_job_limit(self, job: int) -> int | None:
            information = _job_information(job)
            limited = information.BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_PROCESS_MEMORY
            return int(information.ProcessMemoryLimit) if limited else None

        def set_job_limit(self, job: int, limit: int | None) -> None:
            import ctypes

            from . import _windows_structures as structures

            information = structures.ExtendedLimitInformation()
            if limit is not None:
                information.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY
                information.ProcessMemoryLimit = limit
            set_information = _kernel32().SetInformationJobObject
            size = ctypes.sizeof(information)
            _checked(set_information(job, JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(information), size))

        def committed(self) -> int:
            import psutil

            return int(psutil.Process().memory_info().pagefile)

        def libraries(self, pid: int) -> set[str]:
            import psutil

            with _as_os_error():
                return {each.path.rpartition("\\")[2] for each in psutil.Process(pid).memory_maps()}

        def affinity(self) -> int:
            import psutil

            with _as_os_error():
                return len(psutil.Process().cpu_affinity())

    def _checked(result: int | None) -> int:
        """Return what a function returned, unless that is nothing, which means that it failed."""
        import ctypes

        if not result:
            raise ctypes.WinError(ctypes.get_last_error())
        return result

    def _set_information(what: int, information: "ctypes.Structure") -> None:
        import ctypes

        kernel32 = _kernel32()
        set_information = getattr(kernel32, "SetProcessInformation", None)
        if set_information is None:
            raise ctypes.WinError(_NOT_THERE[-1])
        size = ctypes.sizeof(information)
        _checked(set_information(kernel32.GetCurrentProcess(), what, ctypes.byref(information), size))

    def _job_information(job: int) -> "structures.ExtendedLimitInformation":
        import ctypes

        from . import _windows_structures as structures

        information = structures.ExtendedLimitInformation()
        query = _kernel32().QueryInformationJobObject
        size = ctypes.sizeof(information)
        _checked(query(job, JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(information), size, None))
        return information

    @contextlib.contextmanager
    def _open_thread(tid: int, access: int = THREAD_QUERY_LIMITED_INFORMATION) -> Iterator[int]:
        import ctypes

        handle = _kernel32().OpenThread(access, False, tid)
        if not handle:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            yield handle
        finally:
            _kernel32().CloseHandle(handle)

    @functools.cache
    def _kernel32() -> "ctypes.WinDLL":
        """Return kernel32 with the types of what is called here.

        From ``processthreadsapi.h``, ``handleapi.h``, ``realtimeapiset.h`` and ``jobapi2.h``.
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
        kernel32.GetModuleHandleExW.argtypes = (wintypes.DWORD, wintypes.LPVOID, wintypes.LPVOID)
        kernel32.GetModuleHandleExW.restype = wintypes.BOOL
        kernel32.GetModuleFileNameW.argtypes = (wintypes.HMODULE, wintypes.LPWSTR, wintypes.DWORD)
        kernel32.GetModuleFileNameW.restype = wintypes.DWORD
        kernel32.QueryThreadCycleTime.argtypes = (wintypes.HANDLE, ctypes.POINTER(ctypes.c_uint64))
        kernel32.QueryThreadCycleTime.restype = wintypes.BOOL
        kernel32.GetCurrentProcess.argtypes = ()
        kernel32.GetCurrentProcess.restype = wintypes.HANDLE
        if hasattr(kernel32, "SetProcessInformation"):
            kernel32.SetProcessInformation.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
            kernel32.SetProcessInformation.restype = wintypes.BOOL
        kernel32.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
        kernel32.CreateJobObjectW.restype = wintypes.HANDLE
        kernel32.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
        kernel32.AssignProcessToJobObject.restype = wintypes.BOOL
        job_information = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
        kernel32.SetInformationJobObject.argtypes = job_information
        kernel32.SetInformationJobObject.restype = wintypes.BOOL
        kernel32.QueryInformationJobObject.argtypes = (*job_information, wintypes.LPDWORD)
        kernel32.QueryInformationJobObject.restype = wintypes.BOOL
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
        io_class=_io_class(pid),
    )


def _io_class(pid: int | None) -> str | None:
    try:
        return IoPriority(system.get_io_priority(pid)).name.lower()
    except (OSError, ValueError):  # Wine has none
        return None


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


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    return _nearest_thread(system.get_thread_priority(None if thread is None else thread.native_id))


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


# --- any threads of this process


def library_threads() -> list[int]:
    """Return the threads that Python did not start, and that start in a library that is not Windows' own."""
    found = system.threads(None)
    python = {thread.native_id for thread in threading.enumerate()}
    if None in python:  # it is just being started, and cannot be told from the others
        return []
    own = os.path.normcase(os.environ.get("SYSTEMROOT", "C:\\Windows"))
    starts = {}
    for tid in set(found) - python:
        with contextlib.suppress(OSError):  # it has ended
            starts[tid] = os.path.normcase(system.start_of_thread(tid))
    no_library = ("", os.path.normcase(sys.executable))
    return [tid for tid, start in starts.items() if start not in no_library and not start.startswith(own)]


def get_threads(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    return {tid: _nearest_thread(value) for tid, value in save_threads(tids).items()}


def save_threads(tids: Iterable[int]) -> dict[int, int]:
    saved = {}
    for tid in tids:
        with contextlib.suppress(OSError):  # it has ended
            saved[tid] = system.get_thread_priority(tid)
    return saved


def set_threads(tids: Iterable[int], priority: ThreadPriority) -> None:
    restore_threads(dict.fromkeys(tids, priority.value))


def restore_threads(saved: dict[int, int]) -> Shortfall | None:
    for tid, value in saved.items():
        with contextlib.suppress(OSError):  # it has ended; Windows lets a process set its own threads
            system.set_thread_priority(value, tid)
    return None


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


# --- what a process takes

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
        f"I/O priority {io_priority.name}", lambda: system.set_io_priority(io_priority)
    ) or _set_if_there(memory_priority.name, lambda: system.set_memory_priority(memory_priority))


def set_efficiency() -> Shortfall | None:
    requested = "EcoQoS (ProcessPowerThrottling)"
    try:
        system.set_power_throttling()
    except OSError as error:
        remedy = "Use Windows 10 1709 or later; from Windows 11 on it is EcoQoS."
        return Shortfall(requested, "the usual quality of service", f"Windows refused it ({error})", remedy)
    return None


def usable_cpus() -> float:
    try:
        return min(count_cpus(), system.affinity())
    except OSError:
        return count_cpus()


def shared_memory() -> Any:
    if not TYPE_CHECKING or sys.platform == "win32":
        from ._windows_sharing import WindowsSharedMemory  # here and not in workers, which get it when they need it

        return WindowsSharedMemory()
    raise AssertionError


def memory_in_use() -> int:
    return system.committed()


def memory_unused() -> int:
    """Return nothing: what is committed may have to be there."""
    return 0


def open_memory_limit() -> "_MemoryLimit":
    return _MemoryLimit()


class _MemoryLimit:
    """A job object's limit of what this process commits."""

    def __init__(self) -> None:
        self._limit = 0
        self._job = system.open_job()

    def hold(self, limit: int) -> None:
        self._limit = limit
        system.set_job_limit(self._job, limit)

    def lift(self) -> None:
        system.set_job_limit(self._job, None)

    def in_force(self) -> bool:
        return system.get_job_limit(self._job) == self._limit


def loaded_libraries(pid: int) -> set[str]:
    try:
        return system.libraries(pid)
    except OSError:
        return set()


def _set_if_there(requested: str, set_it: Callable[[], None]) -> Shortfall | None:
    """Set something that goes with a level; that this Windows has no such thing is no shortfall."""
    try:
        set_it()
    except OSError as error:
        if getattr(error, "winerror", None) in _NOT_THERE:
            return None
        return Shortfall(requested, "as before", f"Windows refused it ({error})", "Run this as administrator.")
    return None


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
