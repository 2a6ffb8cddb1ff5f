"""macOS: nice for a process, a quality-of-service class for a thread.

Some facts:

* ``setpriority(PRIO_PROCESS)`` is the whole process; there is no nice for one thread.
* A thread has a QoS class, ``<pthread/qos.h>``. It can be set on the calling thread only.
  ``PRIO_DARWIN_BG`` takes a thread's QoS class away: the two are never mixed.
* QOS_CLASS_BACKGROUND keeps a thread on the efficiency cores even if the machine has nothing else to do;
  UTILITY is the class for a long computation (Apple, "Energy Efficiency Guide for Mac Apps").
* There is no real-time class to be had through this interface.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from .._priority import PriorityError, Shortfall, ThreadPriority
from ._common import nearest
from ._common import unknown_cpu_delay as cpu_delay
from ._common import unknown_is_ready as is_ready
from ._common import unknown_thread_cpu_time as thread_cpu_time
from ._common import wait_for_lock as pause
from ._posix import become, describe, get_process, restore_process, save_process, set_process

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


class Qos(NamedTuple):
    """A thread's QoS class and its relative priority in it (-15 to 0)."""

    qos_class: int
    relative_priority: int = 0


class System(Protocol):
    """The seam to the operating system, for the calling thread."""

    def get_qos(self) -> Qos: ...
    def set_qos(self, qos: Qos) -> None: ...


class _LibSystem:
    """The QoS functions of macOS' C library."""

    def get_qos(self) -> Qos:
        import ctypes

        current, get, _ = _functions()
        qos_class, relative_priority = ctypes.c_uint(), ctypes.c_int()
        _check(get(current(), ctypes.byref(qos_class), ctypes.byref(relative_priority)))
        return Qos(qos_class.value, relative_priority.value)

    def set_qos(self, qos: Qos) -> None:
        _, _, set_self = _functions()
        _check(set_self(*qos))


@functools.cache
def _functions() -> tuple[Callable[..., int], Callable[..., int], Callable[..., int]]:
    """Return ``pthread_self``, ``pthread_get_qos_class_np`` and ``pthread_set_qos_class_self_np``."""
    import ctypes  # costs milliseconds, and a process' level does not need it

    library = ctypes.CDLL(None)
    library.pthread_self.argtypes = ()
    library.pthread_self.restype = ctypes.c_void_p
    get = library.pthread_get_qos_class_np
    get.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint), ctypes.POINTER(ctypes.c_int))
    get.restype = ctypes.c_int
    set_self = library.pthread_set_qos_class_self_np
    set_self.argtypes = (ctypes.c_uint, ctypes.c_int)
    set_self.restype = ctypes.c_int
    return library.pthread_self, get, set_self


def _check(error_number: int) -> None:
    """Raise what a pthread function returned: they do not set errno."""
    if error_number:
        raise OSError(error_number, os.strerror(error_number))


system: System = _LibSystem()


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


def get_thread() -> ThreadPriority:
    return _nearest(system.get_qos())


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
