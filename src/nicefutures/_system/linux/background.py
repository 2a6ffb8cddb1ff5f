"""Whose memory the kernel takes first, and a process's end with its parent's. I/O is part of the level.

A parent's death can be told by a signal in two ways. PR_SET_PDEATHSIG (prctl(2)) goes by the thread that forked the
process, which may end while the parent lives on. What is taken here goes by the parent: when all the writing ends of a
pipe are closed, the kernel signals a reader that asked for it (O_ASYNC, F_SETSIG, fcntl(2)), with SIGKILL if it wants.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..._levels import ProcessPriority, Shortfall
from . import seam

if TYPE_CHECKING:
    import subprocess

# Added to a thousandth for each thousandth of the memory that is used: at 1000 the process comes before any other.
_OOM_SCORES: Final = {ProcessPriority.IDLE: 1000, ProcessPriority.BELOW_NORMAL: 800}

# What this process had before.
_before: int | None = None


def set_background(priority: ProcessPriority) -> Shortfall | None:
    """Let the kernel take this process first when the memory runs out. I/O is part of the level, thread by thread."""
    global _before  # noqa: PLW0603, it is the process's
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
    except FileNotFoundError:  # not in this kernel, or /proc is not mounted, which the level has said
        return None
    except OSError as error:
        requested, remedy = f"oom_score_adj {wanted}", "Ask the administrator of this machine or container."
        return Shortfall(requested, "", f"the system forbids it ({error.strerror})", remedy)
    if now >= wanted:
        return None
    reason = "the kernel accepted the call and did nothing"
    return Shortfall(f"oom_score_adj {wanted}", str(now), reason, "Ask the administrator of this machine or container.")


def start_child(priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
    """Start a child whose memory the kernel takes when it would have taken it if this process had not been set."""
    process = popen()
    if _before is None and priority not in _OOM_SCORES:
        return None
    path = f"/proc/{process.pid}/oom_score_adj"
    try:
        before = int(seam.system.read_text(path)) if _before is None else _before
        # One may go down to what was last set with a privilege (proc(5)).
        seam.system.write_text(path, str(max(before, _OOM_SCORES.get(priority, before))))
    except (FileNotFoundError, ProcessLookupError):  # it has ended already, or there is no /proc
        return None
    except OSError as error:
        reason, remedy = (
            f"the system forbids it ({error.strerror})",
            "Ask the administrator of this machine or container.",
        )
        return Shortfall(f"oom_score_adj of process {process.pid}", "the value of its parent", reason, remedy)
    return None


def set_efficiency() -> Shortfall | None:
    """Nothing to ask for: Linux has no interface by which a program asks for efficient cores or a slower clock."""
    return None


if not TYPE_CHECKING or sys.platform == "linux":

    def end_with(lifeline: Any) -> None:
        import fcntl  # in a worker on Linux; the rest of this module is tested on every system

        # Opened anew: an open file has one process that is told, and all workers have this one. As long as it is there.
        with contextlib.suppress(OSError):  # no /proc
            fd = os.open(f"/proc/self/fd/{lifeline.fileno()}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC)
            if not _is_open(fd):  # it has gone meanwhile
                os.kill(os.getpid(), signal.SIGKILL)

    def _is_open(pipe: int) -> bool:
        """Return whether somebody has its writing end, to which nobody writes."""
        try:
            return bool(os.read(pipe, 1))
        except BlockingIOError:
            return True
