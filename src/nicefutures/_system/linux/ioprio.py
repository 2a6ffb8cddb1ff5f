"""``ioprio_set`` and ``ioprio_get``, for which the C library has no functions. A part of the seam.

A module of its own for ``nicefutures run``, which does without what the rest of the seam imports.
"""

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# ioprio_set, ioprio_get: the architectures' syscall tables; the newer ones share asm-generic/unistd.h.
_CALLS = {
    "x86_64": (251, 252),
    "i386": (289, 290),
    "i686": (289, 290),
    "aarch64": (30, 31),
    "riscv64": (30, 31),
    "loongarch64": (30, 31),
    "armv7l": (314, 315),
    "ppc64le": (273, 274),
    "s390x": (282, 283),
}
_IOPRIO_WHO_PROCESS = 1  # linux/ioprio.h


class IoprioCalls:
    """The two calls on this machine; OSError if there are none that can be made."""

    def __init__(self) -> None:
        try:
            import ctypes  # costs milliseconds, and importing the library need not pay them
        except ImportError as error:  # a Python that was built without libffi
            raise OSError(errno.ENOSYS, "this Python has no ctypes") from error
        posix: Any = os  # a type checker's Windows has no uname; `platform` costs a millisecond more
        machine = posix.uname().machine
        if machine == "x86_64" and sys.maxsize < 2**32:
            machine = "i686"
        if machine not in _CALLS:
            raise OSError(errno.ENOSYS, f"no I/O priority known for {machine}")
        self._set, self._get = _CALLS[machine]
        self._last_error = ctypes.get_errno
        # PyDLL, for these calls are over at once: to let the GIL go for each costs a thread's start more than they do.
        self._syscall = ctypes.PyDLL(None, use_errno=True).syscall
        self._syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int)
        self._syscall.restype = ctypes.c_long

    def set(self, tid: int, ioprio: int) -> None:
        self._call(self._set, tid, ioprio)

    def get(self, tid: int) -> int:
        return self._call(self._get, tid, 0)

    def _call(self, number: int, tid: int, ioprio: int) -> int:
        result: int = self._syscall(number, _IOPRIO_WHO_PROCESS, tid, ioprio)
        if result == -1:
            error = self._last_error()
            raise OSError(error, os.strerror(error))
        return result
