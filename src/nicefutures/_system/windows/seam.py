"""The seam to Windows: all calls of it, except those for shared memory, which use its library."""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    import ctypes

    from . import structures

THREAD_PRIORITY_ERROR_RETURN: Final = 0x7FFFFFFF  # winbase.h
# winnt.h
PROCESS_TERMINATE: Final = 0x0001
PROCESS_SET_QUOTA: Final = 0x0100
PROCESS_SET_INFORMATION: Final = 0x0200
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
JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE: Final = 0x2000
INFINITE: Final = 0xFFFFFFFF  # winbase.h
WT_EXECUTEONLYONCE: Final = 0x8  # winnt.h
ERROR_CALL_NOT_IMPLEMENTED: Final = 120  # winerror.h
LOW_MEMORY_RESOURCE_NOTIFICATION: Final = 0  # MEMORY_RESOURCE_NOTIFICATION_TYPE, memoryapi.h
SYSTEM_PROCESS_INFORMATION: Final = 5  # SYSTEM_INFORMATION_CLASS, winternl.h
STATUS_INFO_LENGTH_MISMATCH: Final = 0xC000_0004  # ntstatus.h
_LIST_SIZE: Final = 2**18


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
    def set_io_priority(self, priority: int, pid: int | None = None) -> None: ...
    def set_memory_priority(self, priority: int) -> None: ...
    def set_power_throttling(self, pid: int | None = None) -> None: ...
    def end_after(self, process: int) -> None: ...
    def open_job(self) -> int: ...
    def create_job(self) -> int: ...
    def assign_to_job(self, job: int, pid: int) -> None: ...
    def close_job(self, job: int) -> None: ...
    def get_job_limit(self, job: int) -> int | None: ...
    def set_job_limit(self, job: int, limit: int | None, *, ends: bool = False) -> None: ...
    def committed(self) -> int: ...
    def libraries(self, pid: int) -> set[str]: ...
    def affinity(self) -> int: ...
    def last_input(self) -> int: ...
    def ticks(self) -> int: ...
    def ac_line(self) -> tuple[int, int]: ...
    def open_memory_notification(self) -> int: ...
    def query_memory_notification(self, handle: int) -> bool: ...
    def list_processes(self) -> bytes: ...


if not TYPE_CHECKING or sys.platform == "win32":

    class _Win32:
        """Calls of Windows: by psutil, or by ctypes where psutil has no function."""

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

            kernel32 = get_kernel32()
            if tid is None:
                result = kernel32.GetThreadPriority(kernel32.GetCurrentThread())
            else:
                with _open_thread(tid) as handle:
                    result = kernel32.GetThreadPriority(handle)
            if result == THREAD_PRIORITY_ERROR_RETURN:
                raise ctypes.WinError(ctypes.get_last_error())
            return int(result)

        def set_thread_priority(self, priority: int, tid: int | None = None) -> None:
            kernel32 = get_kernel32()
            if tid is None:
                checked(kernel32.SetThreadPriority(kernel32.GetCurrentThread(), priority))
            else:
                with _open_thread(tid, THREAD_SET_INFORMATION) as handle:
                    checked(kernel32.SetThreadPriority(handle, priority))

        def start_of_thread(self, tid: int) -> str:
            """Return the file name of the library in which a thread starts; empty if it starts in none."""
            import ctypes
            from ctypes import wintypes

            address, module = ctypes.c_void_p(), wintypes.HMODULE()
            query = ctypes.WinDLL("ntdll").NtQueryInformationThread
            query.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.ULONG, wintypes.LPVOID)
            query.restype = wintypes.LONG
            with _open_thread(tid, THREAD_QUERY_INFORMATION) as handle:
                query(handle, THREAD_QUERY_SET_WIN32_START_ADDRESS, ctypes.byref(address), ctypes.sizeof(address), None)
            kernel32, name = get_kernel32(), ctypes.create_unicode_buffer(_LONGEST_PATH)
            # A library that is unloaded meanwhile is not one that computes.
            if kernel32.GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAGS, address, ctypes.byref(module)):
                kernel32.GetModuleFileNameW(module, name, len(name))
            return name.value

        def thread_cycles(self, tid: int) -> int:
            import ctypes

            cycles = ctypes.c_uint64()
            with _open_thread(tid) as handle:
                if not get_kernel32().QueryThreadCycleTime(handle, ctypes.byref(cycles)):
                    raise ctypes.WinError(ctypes.get_last_error())
            return cycles.value

        def get_io_priority(self, pid: int | None) -> int:
            import psutil

            with _as_os_error():
                priority: Any = psutil.Process(pid).ionice()  # a number here, unlike in its stubs
                return int(priority)

        def set_io_priority(self, priority: int, pid: int | None = None) -> None:
            import psutil

            with _as_os_error():
                psutil.Process(pid).ionice(priority)

        def set_memory_priority(self, priority: int) -> None:
            from . import structures

            _set_information(PROCESS_MEMORY_PRIORITY, structures.MemoryPriorityInformation(priority))

        def set_power_throttling(self, pid: int | None = None) -> None:
            from . import structures

            speed = POWER_THROTTLING_EXECUTION_SPEED
            state = structures.PowerThrottlingState(Version=1, ControlMask=speed, StateMask=speed)
            if pid is None:
                _set_information(PROCESS_POWER_THROTTLING, state)
            else:
                with opened(get_kernel32().OpenProcess(PROCESS_SET_INFORMATION, False, pid)) as handle:
                    _set_information(PROCESS_POWER_THROTTLING, state, handle)

        def end_after(self, process: int) -> None:
            """End this process when another one ends; `process` is its handle (``threadpoollegacyapiset.h``).

            A thread of the system waits for that end and calls TerminateProcess with the result of GetCurrentProcess.
            It runs no Python code, which would have to wait for the GIL.
            """
            import ctypes
            from ctypes import wintypes

            kernel32, wait = get_kernel32(), wintypes.HANDLE()
            terminate = ctypes.cast(kernel32.TerminateProcess, ctypes.c_void_p)
            this = kernel32.GetCurrentProcess()
            register = kernel32.RegisterWaitForSingleObject
            checked(register(ctypes.byref(wait), process, terminate, this, INFINITE, WT_EXECUTEONLYONCE))

        def open_job(self) -> int:
            job = self.create_job()
            kernel32 = get_kernel32()
            checked(kernel32.AssignProcessToJobObject(job, kernel32.GetCurrentProcess()))
            return job

        def create_job(self) -> int:
            return checked(get_kernel32().CreateJobObjectW(None, None))

        def assign_to_job(self, job: int, pid: int) -> None:
            kernel32 = get_kernel32()
            with opened(kernel32.OpenProcess(PROCESS_SET_QUOTA | PROCESS_TERMINATE, False, pid)) as process:
                checked(kernel32.AssignProcessToJobObject(job, process))

        def close_job(self, job: int) -> None:
            get_kernel32().CloseHandle(job)

        def get_job_limit(self, job: int) -> int | None:
            information = _job_information(job)
            limited = information.BasicLimitInformation.LimitFlags & JOB_OBJECT_LIMIT_PROCESS_MEMORY
            return int(information.ProcessMemoryLimit) if limited else None

        def set_job_limit(self, job: int, limit: int | None, *, ends: bool = False) -> None:
            """Limit the memory that each process of a job commits; with `ends`, all end when its last handle closes."""
            import ctypes

            from . import structures

            information = structures.ExtendedLimitInformation()
            if limit is not None:
                information.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_PROCESS_MEMORY
                information.ProcessMemoryLimit = limit
            if ends:
                information.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
            set_information = get_kernel32().SetInformationJobObject
            size = ctypes.sizeof(information)
            checked(set_information(job, JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(information), size))

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

        def last_input(self) -> int:
            """Return the tick of the last input, in ms, modulo 2 ** 32."""
            import ctypes

            from . import structures

            information = structures.LastInputInfo(ctypes.sizeof(structures.LastInputInfo))
            checked(_user32().GetLastInputInfo(ctypes.byref(information)))
            return int(information.dwTime)

        def ticks(self) -> int:
            return int(get_kernel32().GetTickCount())

        def ac_line(self) -> tuple[int, int]:
            """Return ACLineStatus and BatteryFlag of ``SYSTEM_POWER_STATUS``."""
            import ctypes

            from . import structures

            status = structures.SystemPowerStatus()
            checked(get_kernel32().GetSystemPowerStatus(ctypes.byref(status)))
            return int(status.ACLineStatus), int(status.BatteryFlag)

        def open_memory_notification(self) -> int:
            return checked(get_kernel32().CreateMemoryResourceNotification(LOW_MEMORY_RESOURCE_NOTIFICATION))

        def query_memory_notification(self, handle: int) -> bool:
            import ctypes
            from ctypes import wintypes

            state = wintypes.BOOL()
            checked(get_kernel32().QueryMemoryResourceNotification(handle, ctypes.byref(state)))
            return bool(state.value)

        def list_processes(self) -> bytes:
            """Return the data of all processes and their threads: ``SYSTEM_PROCESS_INFORMATION``."""
            import ctypes
            from ctypes import wintypes

            query = ctypes.WinDLL("ntdll").NtQuerySystemInformation
            query.argtypes = (ctypes.c_int, wintypes.LPVOID, wintypes.ULONG, wintypes.LPVOID)
            query.restype = wintypes.LONG
            size, needed = _LIST_SIZE, wintypes.ULONG()
            while True:
                buffer = ctypes.create_string_buffer(size)
                status = query(SYSTEM_PROCESS_INFORMATION, buffer, size, ctypes.byref(needed))
                if status & 0xFFFF_FFFF != STATUS_INFO_LENGTH_MISMATCH:
                    break
                size = max(needed.value, size) + _LIST_SIZE
            if status:
                msg = f"NtQuerySystemInformation: status {status & 0xFFFF_FFFF:#x}"
                raise OSError(msg)
            return buffer.raw[: needed.value or size]

    def checked(result: int | None) -> int:
        """Return the result of a function; raise OSError if it is 0 or None, which means failure."""
        import ctypes

        if not result:
            raise ctypes.WinError(ctypes.get_last_error())
        return result

    def _set_information(what: int, information: "ctypes.Structure", process: int | None = None) -> None:
        import ctypes

        kernel32 = get_kernel32()
        set_information = getattr(kernel32, "SetProcessInformation", None)
        if set_information is None:
            raise ctypes.WinError(ERROR_CALL_NOT_IMPLEMENTED)
        size = ctypes.sizeof(information)
        checked(set_information(process or kernel32.GetCurrentProcess(), what, ctypes.byref(information), size))

    def _job_information(job: int) -> "structures.ExtendedLimitInformation":
        import ctypes

        from . import structures

        information = structures.ExtendedLimitInformation()
        query = get_kernel32().QueryInformationJobObject
        size = ctypes.sizeof(information)
        checked(query(job, JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(information), size, None))
        return information

    @contextlib.contextmanager
    def opened(handle: int | None) -> Iterator[int]:
        handle = checked(handle)
        try:
            yield handle
        finally:
            get_kernel32().CloseHandle(handle)

    def _open_thread(
        tid: int, access: int = THREAD_QUERY_LIMITED_INFORMATION
    ) -> contextlib.AbstractContextManager[int]:
        return opened(get_kernel32().OpenThread(access, False, tid))

    @functools.cache
    def _user32() -> "ctypes.WinDLL":
        import ctypes
        from ctypes import wintypes

        user32 = ctypes.WinDLL("user32", use_last_error=True)
        user32.GetLastInputInfo.argtypes = (wintypes.LPVOID,)
        user32.GetLastInputInfo.restype = wintypes.BOOL
        return user32

    @functools.cache
    def get_kernel32() -> "ctypes.WinDLL":  # noqa: PLR0915, a list of types
        """Return kernel32, with the types of the functions that are called here and in ``sharing``.

        From ``processthreadsapi.h``, ``handleapi.h``, ``realtimeapiset.h``, ``jobapi2.h``, ``sysinfoapi.h``,
        ``winbase.h`` and ``memoryapi.h``.
        """
        import ctypes
        from ctypes import wintypes

        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel32.GetCurrentThread.argtypes = ()
        kernel32.GetCurrentThread.restype = wintypes.HANDLE
        kernel32.OpenThread.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        kernel32.OpenThread.restype = wintypes.HANDLE
        kernel32.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        kernel32.OpenProcess.restype = wintypes.HANDLE
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
        kernel32.RegisterWaitForSingleObject.argtypes = (
            wintypes.LPHANDLE,
            wintypes.HANDLE,
            wintypes.LPVOID,
            wintypes.LPVOID,
            wintypes.ULONG,
            wintypes.ULONG,
        )
        kernel32.RegisterWaitForSingleObject.restype = wintypes.BOOL
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
        kernel32.GetTickCount.argtypes = ()
        kernel32.GetTickCount.restype = wintypes.DWORD
        kernel32.GetSystemPowerStatus.argtypes = (wintypes.LPVOID,)
        kernel32.GetSystemPowerStatus.restype = wintypes.BOOL
        kernel32.CreateMemoryResourceNotification.argtypes = (ctypes.c_int,)
        kernel32.CreateMemoryResourceNotification.restype = wintypes.HANDLE
        dword, handle = wintypes.DWORD, wintypes.HANDLE
        kernel32.CreateFileMappingW.argtypes = (handle, wintypes.LPVOID, dword, dword, dword, wintypes.LPCWSTR)
        kernel32.CreateFileMappingW.restype = handle
        kernel32.MapViewOfFile.argtypes = (handle, dword, dword, dword, ctypes.c_size_t)
        kernel32.MapViewOfFile.restype = wintypes.LPVOID
        kernel32.UnmapViewOfFile.argtypes = (wintypes.LPVOID,)
        kernel32.UnmapViewOfFile.restype = wintypes.BOOL
        kernel32.DuplicateHandle.argtypes = (handle, handle, handle, wintypes.LPHANDLE, dword, wintypes.BOOL, dword)
        kernel32.DuplicateHandle.restype = wintypes.BOOL
        kernel32.QueryMemoryResourceNotification.argtypes = (wintypes.HANDLE, wintypes.LPVOID)
        kernel32.QueryMemoryResourceNotification.restype = wintypes.BOOL
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
