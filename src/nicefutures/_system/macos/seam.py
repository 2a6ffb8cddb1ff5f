"""The seam to macOS: all calls that go to it, but for those of any POSIX system."""

import functools
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    import ctypes

IOPOL_TYPE_DISK: Final = 0  # <sys/resource.h>
IOPOL_SCOPE_PROCESS: Final = 0
PRIO_DARWIN_PROCESS: Final = 4  # <sys/resource.h>
# Of a thread by the id that pthread_threadid_np gives; a ``struct proc_threadinfo``, <sys/proc_info.h>.
PROC_PIDTHREADID64INFO: Final = 15
_THREAD_INFO_SIZE: Final = 112


class Qos(NamedTuple):
    """A thread's QoS class and its relative priority in it (-15 to 0)."""

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


if not TYPE_CHECKING or sys.platform != "win32":

    class _LibSystem:
        """The functions of macOS' C library."""

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

    system: System = _LibSystem()
else:
    system: System


@functools.cache
def _functions() -> tuple[Callable[..., int], Callable[..., int], Callable[..., int]]:
    """Return ``pthread_self``, ``pthread_get_qos_class_np`` and ``pthread_set_qos_class_self_np``."""
    import ctypes  # costs milliseconds, and a process' level does not need it

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
    """Return the C library, with the types of the functions that take plain numbers (``sys/resource.h``)."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.getiopolicy_np.argtypes = (ctypes.c_int, ctypes.c_int)
    library.getiopolicy_np.restype = ctypes.c_int
    library.setiopolicy_np.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int)
    library.setiopolicy_np.restype = ctypes.c_int
    library.proc_pidinfo.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int)
    library.proc_pidinfo.restype = ctypes.c_int
    return library


def _errno_checked(function: Callable[..., int], *arguments: int) -> int:
    import ctypes

    result = function(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _check(error_number: int) -> None:
    """Raise what a pthread function returned: they do not set errno."""
    if error_number:
        raise OSError(error_number, os.strerror(error_number))
