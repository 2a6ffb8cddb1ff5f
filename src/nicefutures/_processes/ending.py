"""End a worker during a task, with the processes that the task has started."""

import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Final

from .._forks import keep_through_forks
from .._originals import now

if TYPE_CHECKING:
    import psutil

# Seconds from SIGTERM to SIGKILL. On Windows both are TerminateProcess.
_GRACE: Final = 1.0
# Seconds between two checks of a process.
_STEP: Final = 0.02

_asking: Final = threading.RLock()
keep_through_forks(_asking)


def end_tree(process: BaseProcess) -> None:
    """Send SIGTERM, then SIGKILL, to a worker and the processes that it has started; wait for its end."""
    _end_at_last([process], _end_politely(process))


def begin_to_end_tree(process: BaseProcess) -> None:
    """Do the same as `end_tree` in another thread, without waiting."""
    arguments = [process], _end_politely(process)
    try:
        threading.Thread(target=_end_at_last, args=arguments, name="nicefutures-stop", daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter ends
        process.kill()


def end_all(processes: list[BaseProcess]) -> None:
    """Send SIGTERM, then SIGKILL, to workers, whose SIGTERM handlers may be the program's; wait for their end."""
    for each in processes:
        _terminate(each)
    _end_at_last(processes, set())


def _end_politely(process: BaseProcess) -> "set[psutil.Process]":
    children = _children(process)
    for each in children:
        _suppressing(each.terminate)
        _suppressing(each.resume)
    _terminate(process)
    return children


def _terminate(process: BaseProcess) -> None:
    process.terminate()
    go_on(process)


def go_on(process: BaseProcess) -> None:
    """Continue a stopped process, so that it gets its SIGTERM."""
    if hasattr(signal, "SIGCONT") and process.pid is not None and process.exitcode is None:
        with contextlib.suppress(OSError):
            os.kill(process.pid, signal.SIGCONT)


def _end_at_last(processes: list[BaseProcess], children: "set[psutil.Process]") -> None:
    deadline = now() + _GRACE
    for process in processes:
        wait_for(process, deadline - now())
        children |= _children(process)  # a worker that still runs may have started more
        process.kill()
    while now() < deadline and any(map(_runs, children)):  # its children may outlive it
        time.sleep(_STEP)
    for each in children:
        _suppressing(each.kill)
    for process in processes:
        wait_for(process, _GRACE)  # so that no zombie is left


def ask_one_at_a_time(process: Any) -> None:
    """Let only one thread at a time ask for the exit status of a process that a fork server has forked.

    The fork server tells it once. A second thread that asks at that moment would replace the status by 255, and
    multiprocessing asks whenever a process starts.
    """
    process._popen.__class__ = _asked_popen()  # noqa: SLF001, as it is from Python 3.11 to 3.15


@functools.cache
def _asked_popen() -> type:
    from multiprocessing import popen_forkserver

    system: Any = os  # a type checker's Windows has no WNOHANG, and no fork server
    base: Any = popen_forkserver

    class Popen(base.Popen):  # type: ignore[misc]
        def poll(self, flag: int = system.WNOHANG) -> Any:
            if flag != system.WNOHANG:
                connection.wait([self.sentinel])
            with _asking:
                return super().poll(system.WNOHANG)

    return Popen


def has_ended(process: BaseProcess) -> bool:
    """Return whether a process has ended. Its exit status stays unknown if this program ignores SIGCHLD."""
    if process.exitcode is not None:
        return True
    import psutil  # only needed to end a process

    if psutil.pid_exists(process.pid or 0):
        return False
    time.sleep(_STEP)  # another thread may have just received its status
    return True


def wait_for(process: BaseProcess, seconds: float) -> None:
    """Wait for the end of a process, for at most `seconds`.

    `join` waits for the end of a pipe, which a surviving child of the process may keep open.
    """
    deadline = now() + seconds
    while not has_ended(process) and now() < deadline:
        process.join(_STEP)


def _children(process: BaseProcess) -> "set[psutil.Process]":
    import psutil

    if has_ended(process):  # its id may belong to another process by now
        return set()
    with contextlib.suppress(psutil.Error, OSError):  # it has ended, or the system does not list its children
        return set(psutil.Process(process.pid).children(recursive=True))
    return set()


def _runs(child: "psutil.Process") -> bool:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):  # it has ended
        return child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    return False


def _suppressing(end: Callable[[], None]) -> None:
    import psutil

    with contextlib.suppress(psutil.Error, OSError):  # it has ended, or belongs to another user
        end()
