"""Describe how a worker process has ended. The stdlib's BrokenProcessPool does not name the cause."""

import errno
import logging
import signal
from concurrent.futures.process import BrokenProcessPool, _RemoteTraceback
from multiprocessing.process import BaseProcess
from typing import Any, Final

from .._public import public
from .._system import backend

# Errors for a lack of processes, descriptors or memory.
_SCARCE: Final = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_SIGKILL: Final = 9  # as in multiprocessing on all systems

_UNKNOWN: Final = 255  # multiprocessing's exit code of a process whose fork server has ended
_FORK_SERVER: Final = ", or that of the fork server, which may have too few open files (ulimit -n)"
_GUARD: Final = 'A worker imports the main module: put the code that uses the executor below if __name__ == "__main__":'
_SANDBOX: Final = (
    " A sandbox (seccomp) ends a process for a system call that it forbids. Let it refuse the call instead: with "
    "SystemCallErrorNumber=EPERM in a systemd service, or SCMP_ACT_ERRNO in a container's profile."
)

# Exit statuses on Windows that a process has not chosen itself ("NTSTATUS values" of [MS-ERREF]).
_STATUS: Final = {
    0x40010004: "a debugger terminated it",
    0x80000003: "a breakpoint",
    0xC0000005: "an access violation (a segmentation fault)",
    0xC0000006: "a page could not be read: its file or disk is gone",
    0xC0000017: "there was no memory",
    0xC000001D: "an illegal instruction: perhaps a library was built for another CPU",
    0xC0000025: "an exception that cannot be continued",
    0xC0000094: "an integer was divided by zero",
    0xC00000FD: "a stack overflow: a recursion that is too deep, perhaps in compiled code",
    0xC000012D: "the commit limit: memory and page file are full",
    0xC0000135: "a DLL was not found",
    0xC0000139: "a DLL lacks a function: it is of another version",
    0xC000013A: "Ctrl-C",
    0xC0000142: "a DLL could not be initialized",
    0xC0000374: "the heap was corrupted, by compiled code",
    0xC0000409: "compiled code aborted because its stack or state was corrupted",
    0xC0000602: "compiled code aborted",
}


@public
class WorkerCrashError(BrokenProcessPool):
    """The worker process of a task died. The pool continues.

    Attributes
    ----------
    pid : int
        Process id of the worker.
    exitcode : int or None
        Its exit code, as in :attr:`multiprocessing.Process.exitcode`.
    """

    def __init__(self, text: str, pid: int, exitcode: int | None) -> None:
        super().__init__(text, pid, exitcode)
        self.pid = pid
        self.exitcode = exitcode

    def __str__(self) -> str:
        return str(self.args[0])


def log_retry(error: WorkerCrashError) -> None:
    """Log a crash after which the task runs again."""
    logging.getLogger("nicefutures").warning("%s The task runs again.", error)


class Breakage:
    """Why a pool is broken. An executor may keep this object longer than its pool.

    `text` and `cause` are None while the pool works. The cause is an initializer's exception, or how a process ended.
    """

    text: str | None = None
    cause: BaseException | None = None

    def raise_if_broken(self) -> None:
        """Raise a BrokenProcessPool if the pool is broken."""
        if self.text is not None:
            raise BrokenProcessPool(self.text) from self.cause


def count_oom_kills_since(before: int | None) -> int:
    """Return how many processes the OOM killer has ended since its count was `before`."""
    kills = backend.memory.count_oom_kills()
    return 0 if kills is None or before is None else kills - before


def explain_refusal(error: OSError, method: str) -> tuple[str, str]:
    """Return why the system does not start another worker, and a remedy."""
    reason = error.strerror or str(error)
    if error.errno in _SCARCE:
        remedy = (
            "Pass a smaller max_workers, or allow more: each worker takes a process (ulimit -u) and two open files of "
            "this process (ulimit -n)."
        )
    elif method == "forkserver":
        remedy = (
            "The fork server needs a working directory that exists, and a writable directory with a short path for its "
            'socket: set TMPDIR, or pass mp_context="spawn".'
        )
    else:
        remedy = "Check that the working directory and the Python interpreter (sys.executable) exist."
    return reason, remedy


def describe_break(
    process: BaseProcess,
    kills_before: int | None,
    *,
    started: bool,
    failure: tuple[str, BaseException] | None = None,
    silence: float | None = None,
) -> tuple[str, BaseException]:
    """Return the message of a broken pool, and the cause.

    A `failure` is "initializer" or "import of the main module", and the exception that it raised. `silence` is the time
    in s within which three workers have not run any code. The other arguments are those of `describe_end`.
    """
    if failure is not None:
        what, error = failure
        text = (
            f"The {what} failed in a worker process, so the pool is not usable anymore: {type(error).__name__}: {error}"
        )
        return text if what == "initializer" else f"{text}. {_GUARD}", error
    # As in Python 3.15, on all Pythons.
    told: Any = f"\n'''\nProcess {process.pid} terminated abruptly with exit code {process.exitcode}'''"
    cause = _RemoteTraceback(told)
    if silence is not None:
        return (
            f"Three worker processes in a row did not run any code within {silence:g} s of their start. A forked "
            'process may wait forever for a lock of another thread: pass mp_context="forkserver" or "spawn".'
        ), cause
    text = "A process in the process pool was terminated abruptly while the future was running or pending. "
    return text + describe_end(process, kills_before, started=started), cause


def describe_end(
    process: BaseProcess, kills_before: int | None, *, started: bool, memory_limit: int | None = None
) -> str:
    """Return one or two sentences on how a process has ended.

    `kills_before` is the number of processes that the OOM killer had ended before this one `started`, which means that
    it was ready for tasks. It may have reached a `memory_limit` in bytes if it was not killed.
    """
    end = _describe_end(process, kills_before, started=started)
    if memory_limit is None:
        return end
    return (
        f"{end} If it ran out of memory: its memory_limit is {memory_limit:,} bytes, and some libraries end the "
        "process instead of raising a MemoryError."
    )


def _describe_end(process: BaseProcess, kills_before: int | None, *, started: bool) -> str:
    code = process.exitcode
    worker = f"Worker {process.pid}"
    if code is None:
        reason = "another part of this program may have received it"
        if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            reason = "this program ignores SIGCHLD"
        return f"{worker} ended or closed its connection. Its exit status is unknown, because {reason}."
    if 0 < code < 2**31 and not started:
        return (
            f"{worker} ended with exit status {code} while it started. Its last message on standard error says why"
            f"{_FORK_SERVER if code == _UNKNOWN else ''}. {_GUARD}"
        )
    if code >= 0:
        status = str(code) if code < 2**31 else f"{code:#x}"
        return f"{worker} ended with exit status {status}" + (f": {_STATUS[code]}." if code in _STATUS else ".")
    if code != -_SIGKILL:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if backend.memory.is_trapped(code):
            name = "exit(), which compiled code called during a task"
        return f"{worker} was terminated by {name}." + (_SANDBOX if name == "SIGSYS" else "")
    oom_kills = count_oom_kills_since(kills_before)
    if oom_kills > 0:  # the kernel counts for the whole machine, and names no process
        limit = backend.memory.limit_of_groups()
        whose = "this machine" if limit is None else "the control group of this process"
        return (
            f"{worker} was most likely killed by the kernel because the memory ran out (SIGKILL; the kernel killed "
            f"{oom_kills} processes for that since the pool started). The memory of {whose} is "
            f"{backend.memory.total():,} bytes. With a memory_limit, such a task ends with a MemoryError instead."
        )
    return f"{worker} was killed (SIGKILL), by another process or by the kernel."
