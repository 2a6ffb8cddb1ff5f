"""How a worker process has ended: the stdlib's BrokenProcessPool says that one has, and not of what."""

import signal
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from typing import Final

from .._public import public
from .._system import backend

_SIGKILL: Final = 9  # as multiprocessing has it on all systems

# How a process of Windows ends that has not chosen its exit status ("NTSTATUS values" of [MS-ERREF]).
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


class Breakage:
    """Why there is no use in a pool any more; an executor may have this for longer than its pool.

    Attributes
    ----------
    text : str or None
        None as long as nothing is wrong.
    cause : BaseException or None
        What an initializer raised, or how a process ended.
    """

    text: str | None = None
    cause: BaseException | None = None

    def raise_if_broken(self) -> None:
        """Raise a BrokenProcessPool if something is wrong."""
        if self.text is not None:
            raise BrokenProcessPool(self.text) from self.cause


def count_oom_kills_since(before: int | None) -> int:
    """Return how many processes the kernel has killed for want of memory since there were so many."""
    kills = backend.memory.count_oom_kills()
    return 0 if kills is None or before is None else kills - before


def describe_end(
    process: BaseProcess, kills_before: int | None, *, started: bool, memory_limit: int | None = None
) -> str:
    """Return how a process has ended, in a sentence or two.

    Parameters
    ----------
    process : multiprocessing.Process
        The process.
    kills_before : int or None
        How many processes the kernel had killed for want of memory, before this one was started.
    started : bool
        Whether it came so far that it could take a task.
    memory_limit : int or None
        The limit that it may have met, if it was not killed.
    """
    end = _describe_end(process, kills_before, started=started)
    if memory_limit is None:
        return end
    return (
        f"{end} If it ran out of memory: its memory_limit is {memory_limit:,} bytes, and some libraries end the "
        "process instead of raising a MemoryError."
    )


def _name_signal(exitcode: int) -> str:
    if backend.memory.is_trapped(exitcode):
        return "exit(), which compiled code called during a task"
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"


def _describe_end(process: BaseProcess, kills_before: int | None, *, started: bool) -> str:
    code = process.exitcode
    worker = f"Worker {process.pid}"
    if code is None:
        return f"{worker} closed its connection."
    if 0 < code < 2**31 and not started:
        return (
            f"{worker} ended with exit status {code} while it started. Its last message on standard error says why. "
            "A worker may import the main module: put the code that uses the executor below "
            'if __name__ == "__main__":.'
        )
    if code >= 0:
        status = str(code) if code < 2**31 else f"{code:#x}"
        return f"{worker} ended with exit status {status}" + (f": {_STATUS[code]}." if code in _STATUS else ".")
    if code != -_SIGKILL:
        return f"{worker} was terminated by {_name_signal(code)}."
    oom_kills = count_oom_kills_since(kills_before)
    if oom_kills > 0:  # on the whole machine: the kernel does not say which
        limit = backend.memory.limit_of_groups()
        whose = "this machine" if limit is None else "the control group of this process"
        return (
            f"{worker} was most likely killed by the kernel because the memory ran out (SIGKILL; the kernel killed "
            f"{oom_kills} processes for that since the pool started). The memory of {whose} is "
            f"{backend.memory.total():,} bytes. With a memory_limit, such a task ends with a MemoryError instead."
        )
    return f"{worker} was killed (SIGKILL), by another process or by the kernel."
