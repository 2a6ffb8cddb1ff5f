"""The seam to macOS: all calls of it, except those of any POSIX system."""

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import ctypes

IOPOL_TYPE_DISK: Final = 0  # <sys/resource.h>
IOPOL_SCOPE_PROCESS: Final = 0
PRIO_DARWIN_PROCESS: Final = 4  # <sys/resource.h>
# Selects a thread by its id from pthread_threadid_np; returns a ``struct proc_threadinfo``, <sys/proc_info.h>.
PROC_PIDTHREADID64INFO: Final = 15
_THREAD_INFO_SIZE: Final = 112
_APPLICATION_SERVICES: Final = "/System/Library/Frameworks/ApplicationServices.framework/ApplicationServices"
HID_SYSTEM_STATE: Final = 1  # kCGEventSourceStateHIDSystemState, CGEventTypes.h
ANY_INPUT_EVENT: Final = 0xFFFF_FFFF  # kCGAnyInputEventType, CGEventTypes.h


class Qos(NamedTuple):
    """A thread's QoS class, and its relative priority within the class (-15 to 0)."""

    qos_class: int
    relative_priority: int = 0


class System(Protocol):
    """The seam to the operating system. A thread is a ``pthread_t``; None is the calling one."""

    def get_qos(self, thread: int | None = None) -> Qos: ...
    def set_qos(self, qos: Qos) -> None: ...
    def get_io_policy(self) -> int: ...
    def set_io_policy(self, policy: int) -> None: ...
    def get_darwin_background(self) -> int: ...
    def set_darwin_background(self, value: int) -> None: ...
    def thread_cpu_time(self, tid: int) -> int: ...
    def seconds_since_input(self) -> float: ...
    def memory_pressure(self) -> int: ...


if not TYPE_CHECKING or sys.platform != "win32":

    class _LibSystem:
        """Functions of macOS' C library."""

        def get_qos(self, thread: int | None = None) -> Qos:
            import ctypes

            current, get, _ = _functions()
            qos_class, relative_priority = ctypes.c_uint(), ctypes.c_int()
            _check(get(thread or current(), ctypes.byref(qos_class), ctypes.byref(relative_priority)))
            return Qos(qos_class.value, relative_priority.value)

        def set_qos(self, qos: Qos) -> None:
            _, _, set_self = _functions()
            _check(set_self(*qos))

        def get_io_policy(self) -> int:
            return _errno_checked(_library().getiopolicy_np, IOPOL_TYPE_DISK, IOPOL_SCOPE_PROCESS)

        def set_io_policy(self, policy: int) -> None:
            _errno_checked(_library().setiopolicy_np, IOPOL_TYPE_DISK, IOPOL_SCOPE_PROCESS, policy)

        def get_darwin_background(self) -> int:
            return os.getpriority(PRIO_DARWIN_PROCESS, 0)

        def set_darwin_background(self, value: int) -> None:
            os.setpriority(PRIO_DARWIN_PROCESS, 0, value)

        def thread_cpu_time(self, tid: int) -> int:
            import ctypes

            times = (ctypes.c_uint64 * (_THREAD_INFO_SIZE // 8))()
            size = _library().proc_pidinfo(os.getpid(), PROC_PIDTHREADID64INFO, tid, times, _THREAD_INFO_SIZE)
            if size != _THREAD_INFO_SIZE:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return times[0] + times[1]  # the first fields: user and system time in ns

        def seconds_since_input(self) -> float:
            import ctypes

            services = ctypes.CDLL(_APPLICATION_SERVICES)
            function = services.CGEventSourceSecondsSinceLastEventType
            function.argtypes = (ctypes.c_int32, ctypes.c_uint32)
            function.restype = ctypes.c_double
            return float(function(HID_SYSTEM_STATE, ANY_INPUT_EVENT))

        def memory_pressure(self) -> int:
            import ctypes

            level = ctypes.c_int()
            size = ctypes.c_size_t(ctypes.sizeof(level))
            name = b"kern.memorystatus_vm_pressure_level"
            _errno_checked(_library().sysctlbyname, name, ctypes.byref(level), ctypes.byref(size), None, 0)
            return level.value

    system: System = _LibSystem()
else:
    system: System


@functools.cache
def _functions() -> tuple[Callable[..., int], Callable[..., int], Callable[..., int]]:
    """Return ``pthread_self``, ``pthread_get_qos_class_np`` and ``pthread_set_qos_class_self_np``."""
    import ctypes  # here, because it takes milliseconds, and the priority of a process does not need it

    library = _library()
    library.pthread_self.argtypes = ()
    library.pthread_self.restype = ctypes.c_void_p
    get = library.pthread_get_qos_class_np
    get.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.c_int))
    get.restype = ctypes.c_int
    set_self = library.pthread_set_qos_class_self_np
    set_self.argtypes = (ctypes.c_uint, ctypes.c_int)
    set_self.restype = ctypes.c_int
    return library.pthread_self, get, set_self


@functools.cache
def _library() -> "ctypes.CDLL":
    """Return the C library, with the types of the other functions (``sys/resource.h``, ``libproc.h``, ``sysctl.h``)."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.getiopolicy_np.argtypes = (ctypes.c_int, ctypes.c_int)
    library.getiopolicy_np.restype = ctypes.c_int
    library.setiopolicy_np.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    library.setiopolicy_np.restype = ctypes.c_int
    library.proc_pidinfo.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int)
    library.proc_pidinfo.restype = ctypes.c_int
    pointers = (ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    library.sysctlbyname.argtypes = pointers
    library.sysctlbyname.restype = ctypes.c_int
    return library


def _errno_checked(function: Callable[..., int], *arguments: Any) -> int:
    import ctypes

    result = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _check(error_number: int) -> None:
    """Raise the error that a pthread function returned, because these functions do not set errno."""
    if error_number:
        raise OSError(error_number, os.strerror(error_number))
