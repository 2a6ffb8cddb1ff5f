"""The OOM score of a process, and its end with its parent's. The I/O priority is part of the process's priority.

A process can get a signal when its parent ends in two ways. PR_SET_PDEATHSIG (prctl(2)) depends on the thread that
forked the process, which may end before the parent. The way used here depends on the parent: when all writing ends of a
pipe are closed, the kernel sends a reader the signal that it chose (O_ASYNC, F_SETSIG, fcntl(2)), here SIGKILL.
"""

import contextlib
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..._levels import ProcessPriority, Shortfall
from ..._originals import os
from . import seam

if TYPE_CHECKING:
    import subprocess

# Added to the share of the memory that the process uses, in thousandths. At 1000 the kernel kills the process first.
_OOM_SCORES: Final = {ProcessPriority.IDLE: 1000, ProcessPriority.BELOW_NORMAL: 800}

_REMEDY: Final = "Ask the administrator of this machine or container."

# The earlier value of this process.
_before: int | None = None


def set_background(priority: ProcessPriority) -> Shortfall | None:
    """Let the kernel kill this process first when memory runs out. `priority` sets the I/O priority of each thread."""
    global _before  # noqa: PLW0603, a value of the process
    wanted = _OOM_SCORES.get(priority)
    if wanted is None:
        return None
    path = "/proc/self/oom_score_adj"
    try:
        before = int(seam.system.read_text(path))
        if before < wanted:
            seam.system.write_text(path, str(wanted))
            _before = before
        now = int(seam.system.read_text(path))
    except FileNotFoundError:  # not in this kernel, or /proc is not mounted, which `priority` has reported
        return None
    except OSError as error:
        return Shortfall(f"oom_score_adj {wanted}", "", f"the system forbids it ({error.strerror})", _REMEDY)
    if now >= wanted:
        return None
    reason = "the kernel accepted the call and did nothing"
    return Shortfall(f"oom_score_adj {wanted}", str(now), reason, _REMEDY)


def start_child(priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
    """Start a child with the OOM score that it would have if this process had not set its own."""
    process = popen()
    if _before is None and priority not in _OOM_SCORES:
        return None
    path = f"/proc/{process.pid}/oom_score_adj"
    try:
        before = int(seam.system.read_text(path)) if _before is None else _before
        # Without a privilege, the lowest allowed value is the one that was last set with a privilege (proc(5)).
        seam.system.write_text(path, str(max(before, _OOM_SCORES.get(priority, before))))
    except (FileNotFoundError, ProcessLookupError):  # it has ended already, or there is no /proc
        return None
    except OSError as error:
        requested, reason = f"oom_score_adj of process {process.pid}", f"the system forbids it ({error.strerror})"
        return Shortfall(requested, "the value of its parent", reason, _REMEDY)
    return None


def set_efficiency() -> Shortfall | None:
    """Do nothing: Linux has no interface by which a program requests efficient cores or a slower clock."""
    return None


if not TYPE_CHECKING or sys.platform == "linux":

    def end_with(lifeline: Any) -> None:
        import fcntl  # here, because the rest of this module is tested on every system

        # Opened again, because an open file signals one process, and all workers share `lifeline`. It is never closed.
        with contextlib.suppress(OSError):  # no /proc
            fd = os.open(f"/proc/self/fd/{lifeline.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
            if not _is_open(fd):  # the parent has ended meanwhile
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_open(pipe: int) -> bool:
        """Return whether a process has the writing end of a pipe to which no process writes."""
        try:
            return bool(os.read(pipe, 1))
        except BlockingIOError:
            return True
