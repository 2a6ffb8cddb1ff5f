"""``nicefutures pause`` and ``nicefutures resume``: stopping and continuing trees of processes."""

from collections.abc import Callable, Sequence
from typing import Final

import psutil

from .._levels import NotPermittedError, PriorityError, Shortfall
from .._standstill import Standstill
from .._system.common import name_process, no_such_process, process_ended
from .common import USAGE_ERROR, say
from .levels import check_process, growing_tree

# Attempts to stop a tree that starts processes faster than they are found, and to resume a process.
_ATTEMPTS: Final = 5


def pause(pids: Sequence[int]) -> int:
    """Stop trees of processes, which stay stopped; return the exit status."""
    return _do_each(_pause, pids)


def resume(pids: Sequence[int]) -> int:
    """Continue all stopped processes in trees of processes; return the exit status."""
    return _do_each(_resume, pids)


def _do_each(do: Callable[[int], None], pids: Sequence[int]) -> int:
    status = 0
    for pid in pids:
        try:
            do(pid)
        except PriorityError as error:
            say(error)
            status = USAGE_ERROR
    return status


def _pause(root: int) -> None:
    _find(root, "pause")
    this = psutil.Process()
    if root in (this.pid, *(parent.pid for parent in this.parents())):
        reason = "nicefutures itself, or a process that has started it, would be stopped, too"
        remedy = "Use another terminal, or the PID of the program alone."
        raise PriorityError(Shortfall(name_process(root), "", reason, remedy, "pause"))
    standstill = Standstill(_ignore, _ignore, guards=False)
    is_still = any(standstill.stop([root]) for _ in range(_ATTEMPTS))
    for process in standstill.denied:
        raise _not_permitted(process.pid, "pause")
    if not is_still:
        reason = "processes of its tree are still running"
        raise PriorityError(Shortfall(name_process(root), "", reason, "Try again.", "pause"))


def _resume(root: int) -> None:
    _find(root, "resume")
    for pid in growing_tree(root):
        try:
            process = psutil.Process(pid)
            process.resume()  # Windows does not always report which processes are suspended
            for _ in range(_ATTEMPTS):
                if process.status() != psutil.STATUS_STOPPED:
                    break
                process.resume()  # Windows counts suspensions
        except psutil.NoSuchProcess:  # it ended meanwhile
            continue
        except psutil.AccessDenied as error:
            raise _not_permitted(pid, "resume") from error


def _find(root: int, action: str) -> None:
    """Raise an error if there is no such process, or if it is a zombie."""
    check_process(root, action)
    try:
        status = psutil.Process(root).status()
    except psutil.NoSuchProcess as error:
        raise no_such_process(action, root) from error
    except psutil.AccessDenied:
        return
    if status == psutil.STATUS_ZOMBIE:
        raise process_ended(action, root)


def _not_permitted(pid: int, action: str) -> NotPermittedError:
    reason = f"{name_process(pid)} belongs to another user, or the system protects it"
    remedy = "Run this as that user, as root (sudo), or as an administrator."
    return NotPermittedError(Shortfall(name_process(pid), "", reason, remedy, action))


def _ignore(_: object) -> None:
    """Do nothing with a pipe: without a guard there is none."""
