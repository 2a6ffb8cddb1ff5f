"""macOS: nice for a process, a quality-of-service class for a thread.

Some facts:

* ``setpriority(PRIO_PROCESS)`` is the whole process; there is no nice for one thread.
* A thread has a QoS class, ``<pthread/qos.h>``. It can be set on the calling thread only.
  ``PRIO_DARWIN_BG`` takes a thread's QoS class away: the two are never mixed.
* QOS_CLASS_BACKGROUND keeps a thread on the efficiency cores even if the machine has nothing else to do;
  UTILITY is the class for a long computation (Apple, "Energy Efficiency Guide for Mac Apps").
* There is no real-time class to be had through this interface.
* A process has an I/O policy for its disk accesses, ``setiopolicy_np(3)``; THROTTLE gives way to all others,
  UTILITY to those that somebody waits for.
* PRIO_DARWIN_BG puts a process on the efficiency cores and throttles its I/O (setpriority(2)).
* Limits of memory are accepted and not enforced (``RLIMIT_AS``, ``RLIMIT_DATA``).
"""

import contextlib
import errno
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Protocol

from .._priority import PriorityError, ProcessPriority, Shortfall, ThreadPriority
from ._common import get_no_threads as get_threads
from ._common import join_no_group as join_group
from ._common import nearest, total_memory, usable_cpus
from ._common import no_group_needed as find_group
from ._common import no_keeper_needed as open_keeper
from ._common import no_shared_memory as shared_memory
from ._common import restore_no_threads as restore_threads
from ._common import save_no_threads as save_threads
from ._common import set_no_threads as set_threads
from ._common import unknown_cpu_delay as cpu_delay
from ._common import unknown_is_ready as is_ready
from ._common import unknown_libraries as loaded_libraries
from ._common import unknown_library_threads as library_threads
from ._common import unknown_oom_kills as count_oom_kills
from ._common import unknown_ready as count_ready
from ._common import unknown_thread_cpu_time as thread_cpu_time
from ._common import unknown_thread_waits as thread_waits
from ._common import wait_for_lock as pause
from ._posix import (
    become,
    describe,
    get_process,
    memory_in_use,
    memory_unused,
    restore_process,
    save_process,
    set_process,
)

if TYPE_CHECKING:
    import ctypes

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

# enum qos_class_t, <sys/qos.h>. UNSPECIFIED cannot be set (pthread_set_qos_class_self_np: EINVAL).
QOS_CLASS_USER_INTERACTIVE: Final = 0x21
QOS_CLASS_USER_INITIATED: Final = 0x19
QOS_CLASS_DEFAULT: Final = 0x15
QOS_CLASS_UTILITY: Final = 0x11
QOS_CLASS_BACKGROUND: Final = 0x09
QOS_CLASS_UNSPECIFIED: Final = 0x00

_QOS: Final = {
    ThreadPriority.IDLE: QOS_CLASS_BACKGROUND,
    ThreadPriority.LOWEST: QOS_CLASS_BACKGROUND,
    ThreadPriority.BELOW_NORMAL: QOS_CLASS_UTILITY,
    ThreadPriority.NORMAL: QOS_CLASS_DEFAULT,
    ThreadPriority.ABOVE_NORMAL: QOS_CLASS_USER_INITIATED,
    ThreadPriority.HIGHEST: QOS_CLASS_USER_INTERACTIVE,
}
_LEVELS: Final = {
    QOS_CLASS_BACKGROUND: ThreadPriority.IDLE,
    QOS_CLASS_UTILITY: ThreadPriority.BELOW_NORMAL,
    QOS_CLASS_DEFAULT: ThreadPriority.NORMAL,
    QOS_CLASS_USER_INITIATED: ThreadPriority.ABOVE_NORMAL,
    QOS_CLASS_USER_INTERACTIVE: ThreadPriority.HIGHEST,
}


IOPOL_TYPE_DISK: Final = 0  # <sys/resource.h>
IOPOL_SCOPE_PROCESS: Final = 0
IOPOL_THROTTLE: Final = 3
IOPOL_UTILITY: Final = 4
PRIO_DARWIN_PROCESS: Final = 4  # <sys/resource.h>
PRIO_DARWIN_BG: Final = 0x1000

_IO_POLICIES: Final = {ProcessPriority.IDLE: IOPOL_THROTTLE, ProcessPriority.BELOW_NORMAL: IOPOL_UTILITY}


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


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    requested = f"thread priority {priority.name}"
    if priority not in _QOS:
        reason = "macOS has no such level for a thread"
        raise PriorityError(Shortfall(requested, _level(system.get_qos()), reason, "Use 'highest' or a lower level."))
    wanted = Qos(_QOS[priority])
    with _explained(requested):
        system.set_qos(wanted)
    now = system.get_qos()
    if now != wanted:
        reason = "macOS accepted the call and did something else"
        raise PriorityError(Shortfall(requested, _level(now), reason, "Set it before others change the thread."))
    return None


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    # A thread's ident is its pthread_t.
    return _nearest(system.get_qos(None if thread is None else thread.ident))


def save_thread() -> Qos:
    return system.get_qos()


def restore_thread(saved: Qos) -> Shortfall | None:
    if saved.qos_class == QOS_CLASS_UNSPECIFIED:
        saved = Qos(QOS_CLASS_DEFAULT)
    try:
        with _explained("the thread's QoS class from before"):
            system.set_qos(saved)
    except PriorityError as error:
        return error.args[0]
    return None


def release_thread() -> None:
    """Nothing to do: a thread's QoS class ends with it."""


# --- what a process takes


def set_background(priority: ProcessPriority) -> Shortfall | None:
    policy = _IO_POLICIES.get(priority)
    if policy is None:
        return None
    requested = f"I/O policy {policy} of this process (IOPOL_{'THROTTLE' if policy == IOPOL_THROTTLE else 'UTILITY'})"
    try:
        system.set_io_policy(policy)
        now = system.get_io_policy()
    except OSError as error:
        return Shortfall(requested, "as before", f"macOS refused it: {error.strerror}", "Run it outside the sandbox.")
    reason = "macOS accepted the call and did something else"
    return None if now == policy else Shortfall(requested, f"policy {now}", reason, "Ask whoever runs this machine.")


def set_efficiency() -> Shortfall | None:
    requested = "efficiency cores for this process (PRIO_DARWIN_BG)"
    try:
        system.set_darwin_background(PRIO_DARWIN_BG)
        now = system.get_darwin_background()
    except OSError as error:
        return Shortfall(requested, "all cores", f"macOS refused it: {error.strerror}", "Run it outside the sandbox.")
    reason = "macOS accepted the call and did nothing"
    return None if now else Shortfall(requested, "all cores", reason, "Ask whoever runs this machine.")


def open_memory_limit() -> NoReturn:
    raise OSError(errno.ENOTSUP, "macOS takes a limit and does not enforce it")


def _nearest(qos: Qos) -> ThreadPriority:
    # The scheduler takes an unspecified class for the default one.
    return nearest(_LEVELS, qos.qos_class or QOS_CLASS_DEFAULT)


def _level(qos: Qos) -> str:
    return f"{_nearest(qos).name} (QoS class {qos.qos_class:#x})"


@contextlib.contextmanager
def _explained(requested: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"macOS refused it: {error.strerror}; a thread whose POSIX scheduling was set has no QoS class"
        remedy = "Do not use pthread_setschedparam or PRIO_DARWIN_BG on this thread."
        raise PriorityError(Shortfall(requested, _level(system.get_qos()), reason, remedy)) from error
