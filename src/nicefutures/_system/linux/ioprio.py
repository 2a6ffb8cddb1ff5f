"""``ioprio_set`` and ``ioprio_get``, for which the C library has no functions. This module is part of the seam."""

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# ioprio_set, ioprio_get, from each architecture's syscall table; the newer ones share asm-generic/unistd.h.
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
    """The two calls on this machine; raises OSError if they cannot be made."""

    def __init__(self) -> None:
        posix: Any = os  # a type checker's Windows has no uname; `platform` takes a millisecond more
        machine = posix.uname().machine
        if machine == "x86_64" and sys.maxsize < 2**32:
            machine = "i686"
        if machine not in _CALLS:
            raise OSError(errno.ENOSYS, f"no I/O priority known for {machine}")
        self._set, self._get = _CALLS[machine]
        self._syscall, self._last_error = _load_syscall()

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


def _load_syscall() -> "tuple[Any, Any]":
    """Return the C library's ``syscall``, and a function that returns its ``errno``."""
    try:
        return _make_syscall()
    except ImportError as error:  # a Python that was built without libffi
        raise OSError(errno.ENOSYS, "this Python has no ctypes") from error
    except AttributeError:  # in a future Python
        import ctypes

        syscall = ctypes.PyDLL(None, use_errno=True).syscall
        syscall.argtypes, syscall.restype = (ctypes.c_long,) * 4, ctypes.c_long
        return syscall, ctypes.get_errno


def _make_syscall() -> "tuple[Any, Any]":
    """Create both from the C part of `ctypes`, because importing its Python part takes a third of Python's start time.

    The function keeps the GIL, as those of PyDLL do, because the calls are short: releasing the GIL for each call would
    delay the start of a thread more than the calls do.
    """
    import _ctypes

    c: Any = _ctypes
    long = type("Long", (c._SimpleCData,), {"_type_": "l"})  # noqa: SLF001
    flags = c.FUNCFLAG_CDECL | c.FUNCFLAG_PYTHONAPI | c.FUNCFLAG_USE_ERRNO
    function = type("Syscall", (c.CFuncPtr,), {"_flags_": flags, "_argtypes_": (long,) * 4, "_restype_": long})
    return function(c.dlsym(c.dlopen(None, 0), "syscall")), c.get_errno
