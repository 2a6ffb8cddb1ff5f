"""Replaces this process by a command, as ``posix.command`` does, and ends it when its parent ends."""

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from ..._levels import ProcessPriority
from ..posix.attending import attend_fork
from ..posix.command import is_program, replace_process
from ..protocols import Program
from .background import set_background

__all__ = ["attend", "become", "is_program"]

_SIGKILL: Final[Any] = getattr(signal, "SIGKILL", None)  # tests on Windows import this module, too
_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def become(command: list[str], priority: ProcessPriority, *, efficiency: bool, program: Program | None = None) -> int:
    set_background(priority)  # the OOM score; a shortfall there is no failure
    replace_process(command)


def attend(start: Callable[[Program | None], int], program: Program) -> int:
    return attend_fork(start, program, _end_with)


def _end_with(parent: int) -> None:
    """Let this process, and the program that replaces it, end when the only thread of the parent ends."""
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes, prctl.restype = (ctypes.c_int, ctypes.c_ulong), ctypes.c_int
    prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # the parent has ended meanwhile
        os.kill(os.getpid(), _SIGKILL)
