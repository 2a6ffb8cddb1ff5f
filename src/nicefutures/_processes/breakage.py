"""Why a process pool broke: the stdlib's BrokenProcessPool says that a worker has ended, and not of what."""

import contextlib
import signal
import weakref
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from .._system import backend

# Seconds: a process closes its files just before it can be asked for its exit status.
_PATIENCE: Final = 1.0


def explain_breakage(executor: ProcessPoolExecutor) -> None:
    """Make the executor's BrokenProcessPool errors say how its workers have ended.

    What is private here has the same names from Python 3.11 to 3.15: the thread that manages the workers, its method
    that is called once when one of them is found dead, and what it knows of processes and tasks. Without them, the
    errors are the stdlib's.
    """
    manager: Any = getattr(executor, "_executor_manager_thread", None)
    terminate_broken = getattr(type(manager), "terminate_broken", None)
    if terminate_broken is None:
        return
    reference = weakref.ref(manager)
    kills = backend.memory.count_oom_kills()

    def explained(*args: Any, **kwargs: Any) -> None:
        manager: Any = reference()
        with contextlib.suppress(Exception):  # whatever it is, the tasks have to learn of the pool's end
            text = _describe_ends(_ended(manager.processes.values()), kills)
            if text:
                for item in manager.pending_work_items.values():
                    item.future = _Explained(item.future, text)
        terminate_broken(manager, *args, **kwargs)

    manager.terminate_broken = explained


class _Explained:
    """A future whose exception gets an explanation."""

    def __init__(self, future: Any, text: str) -> None:
        self._future = future
        self._text = text

    def set_exception(self, error: BaseException) -> None:
        said = str(error)
        if self._text not in said:  # one error serves all futures
            error.args = (f"{said} {self._text}",)
        self._future.set_exception(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._future, name)


def _ended(processes: Iterable[BaseProcess]) -> list[BaseProcess]:
    by_sentinel = {process.sentinel: process for process in processes}
    ended = [by_sentinel[sentinel] for sentinel in wait(list(by_sentinel), 0) if isinstance(sentinel, int)]
    for process in ended:
        process.join(_PATIENCE)
    return ended


def _describe_ends(processes: list[BaseProcess], kills_before: int | None) -> str:
    kills = backend.memory.count_oom_kills()
    more = 0 if kills is None or kills_before is None else kills - kills_before
    return " ".join(_describe_end(process, more) for process in processes if process.exitcode)


def _describe_end(process: BaseProcess, oom_kills: int) -> str:
    code = process.exitcode or 0
    worker = f"Worker {process.pid}"
    if code >= 0:
        return f"{worker} ended with exit status {code if code < 2**31 else hex(code)}."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name != "SIGKILL":
        return f"{worker} was ended by {name}."
    if oom_kills > 0:  # on the whole machine: the kernel does not say which
        return (
            f"{worker} was killed by the kernel, most likely, because the memory ran out: with SIGKILL, and the kernel "
            f"has killed so many processes for that since the pool started: {oom_kills}. A memory_limit makes such a "
            "task end with a MemoryError instead."
        )
    return f"{worker} was killed (SIGKILL), by somebody or by the kernel."
