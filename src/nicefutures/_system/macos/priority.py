"""Nice for a process, a QoS class for the calling thread."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from ..._levels import PriorityError, Shortfall, ThreadPriority
from ..common import nearest
from ..posix.priority import cap_process, describe, get_process, restore_process, save_process, set_process, start
from . import seam
from .seam import Qos

__all__ = [
    "cap_process",
    "describe",
    "get_process",
    "get_thread",
    "release_thread",
    "restore_process",
    "restore_thread",
    "save_process",
    "save_thread",
    "set_process",
    "set_thread",
    "start",
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


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    requested = f"thread priority {priority.name}"
    if priority not in _QOS:
        reason = "macOS has no such level for a thread"
        raise PriorityError(
            Shortfall(requested, _level(seam.system.get_qos()), reason, "Use 'highest' or a lower level.")
        )
    wanted = Qos(_QOS[priority])
    with _explained(requested):
        seam.system.set_qos(wanted)
    now = seam.system.get_qos()
    if now != wanted:
        reason = "macOS accepted the call and did something else"
        raise PriorityError(Shortfall(requested, _level(now), reason, "Set it before other code changes this thread."))
    return None


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    # A thread's ident is its pthread_t.
    return _nearest(seam.system.get_qos(None if thread is None else thread.ident))


def save_thread() -> Qos:
    return seam.system.get_qos()


def restore_thread(saved: Qos) -> Shortfall | None:
    if saved.qos_class == QOS_CLASS_UNSPECIFIED:
        saved = Qos(QOS_CLASS_DEFAULT)
    try:
        with _explained("the QoS class of this thread"):
            seam.system.set_qos(saved)
    except PriorityError as error:
        return error.args[0]._replace(action="restore")
    return None


# A thread's QoS class ends with the thread.
release_thread: Final = None


def _nearest(qos: Qos) -> ThreadPriority:
    # The scheduler treats an unspecified class as the default one.
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
        raise PriorityError(Shortfall(requested, _level(seam.system.get_qos()), reason, remedy)) from error
