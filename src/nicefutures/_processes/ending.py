"""How a worker is ended in the middle of a task, with the processes that the task has started."""

import contextlib
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import psutil

# Seconds from SIGTERM to SIGKILL. On Windows both are TerminateProcess.
_GRACE: Final = 1.0
# Seconds between two looks at a process.
_STEP: Final = 0.02


def end_tree(process: BaseProcess) -> None:
    """End a worker and what it has started, politely and then not; wait for it."""
    _end_at_last(process, _end_politely(process))


def begin_to_end_tree(process: BaseProcess) -> None:
    """Do the same, and do not wait."""
    arguments = process, _end_politely(process)
    try:
        threading.Thread(target=_end_at_last, args=arguments, name="nicefutures-stop", daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter ends
        process.kill()


def _end_politely(process: BaseProcess) -> "set[psutil.Process]":
    children = _children(process)
    for each in children:
        _suppressing(each.terminate)
    process.terminate()
    return children


def _end_at_last(process: BaseProcess, children: "set[psutil.Process]") -> None:
    wait_for(process, _GRACE)
    children |= _children(process)  # it may have started more, if it is still there
    process.kill()
    for each in children:
        _suppressing(each.kill)
    wait_for(process, _GRACE)  # so that nothing is left of it


def wait_for(process: BaseProcess, seconds: float) -> None:
    """Wait for a process's end, for so long at most.

    `join` waits for the end of a pipe, which a process that this one has left behind may have open.
    """
    deadline = time.monotonic() + seconds
    while process.exitcode is None and time.monotonic() < deadline:
        process.join(_STEP)


def _children(process: BaseProcess) -> "set[psutil.Process]":
    import psutil  # for who ends something

    if process.exitcode is not None:  # its number may be that of another process by now
        return set()
    with contextlib.suppress(psutil.Error, OSError):  # it has gone, or the system does not tell
        return set(psutil.Process(process.pid).children(recursive=True))
    return set()


def _suppressing(end: Callable[[], None]) -> None:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):  # it has gone, or is somebody else's
        end()
