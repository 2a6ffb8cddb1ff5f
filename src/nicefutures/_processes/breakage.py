"""How a worker process has ended: the stdlib's BrokenProcessPool says that one has, and not of what."""

import signal
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

from .._system import backend


class WorkerCrashError(BrokenProcessPool):
    """The worker process of a task has died; the pool goes on.

    Attributes
    ----------
    pid : int
        Of the process.
    exitcode : int or None
        How it ended, as :attr:`multiprocessing.Process.exitcode` has it.
    """

    def __init__(self, text: str, pid: int, exitcode: int | None) -> None:
        super().__init__(text, pid, exitcode)
        self.pid = pid
        self.exitcode = exitcode

    def __str__(self) -> str:
        return str(self.args[0])


def describe_end(process: BaseProcess, kills_before: int | None, *, started: bool) -> str:
    """Return how a process has ended, as a sentence; nothing if that is not known.

    Parameters
    ----------
    process : multiprocessing.Process
        The process.
    kills_before : int or None
        How many processes the kernel had killed for want of memory, before this one was started.
    started : bool
        Whether it came so far that it could take a task.
    """
    code = process.exitcode
    worker = f"Worker {process.pid}"
    if code is None:
        return f"{worker} has closed its pipe."
    if code > 0 and not started:
        return (
            f"{worker} ended with exit status {code} while it started: the last that it wrote to standard error says "
            "why. It imports the main module, so that has to be possible there: what uses an executor stands under "
            'if __name__ == "__main__":.'
        )
    if code >= 0:
        return f"{worker} ended with exit status {code if code < 2**31 else hex(code)}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name != "SIGKILL":
        return f"{worker} was ended by {name}."
    kills = backend.memory.count_oom_kills()
    oom_kills = 0 if kills is None or kills_before is None else kills - kills_before
    if oom_kills > 0:  # on the whole machine: the kernel does not say which
        return (
            f"{worker} was killed by the kernel, most likely, because the memory ran out: with SIGKILL, and the kernel "
            f"has killed so many processes for that since the pool started: {oom_kills}. A memory_limit makes such a "
            "task end with a MemoryError instead."
        )
    return f"{worker} was killed (SIGKILL), by somebody or by the kernel."
