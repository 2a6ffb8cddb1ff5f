"""Descriptions of an executor and of its workers."""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

from ._levels import ProcessPriority, ThreadPriority
from ._public import public


@public
@dataclass(frozen=True)
class WorkerInfo:
    """A worker of an executor.

    Attributes
    ----------
    pid : int
        Process id; for a worker thread, that of its process.
    tid : int or None
        The system's thread id of a worker thread; None for a worker process.
    priority : ProcessPriority or ThreadPriority
        The nearest priority to the one that the operating system reports.
    threads : int
        Number of threads of its process.
    blas_threads : int or None
        Number of threads of its BLAS libraries; None if threadpoolctl finds none. A worker process reports it at its
        start; if it has loaded a library since then, this is its limit.
    rss : int
        Memory of its process in RAM (resident set size), in bytes, including shared memory.
    io_class : str or None
        Its I/O class: "idle", "best-effort", "realtime" or "none" (which follows nice) on Linux; "very_low", "low",
        "normal" or "high" on Windows; None elsewhere.
    cpu_time : float or None
        CPU time that it has used, in s. None where the system does not tell it for a thread.
    paused : bool
        Whether it is a worker process that is paused, see `LowPriorityProcessPoolExecutor.pause`.
    """

    pid: int
    tid: int | None
    priority: ProcessPriority | ThreadPriority
    threads: int
    blas_threads: int | None
    rss: int
    io_class: str | None
    cpu_time: float | None = None
    paused: bool = False


@public
class TaskCount(NamedTuple):
    """How many tasks of an executor are not done. Each call of a `map` counts as soon as its input has been read.

    Attributes
    ----------
    waiting : int
        Tasks that have not begun.
    running : int
        Tasks that a worker has.
    """

    waiting: int
    running: int


def describe_executor(
    executor: Executor, level: ProcessPriority | ThreadPriority, max_workers: int, *, is_open: bool
) -> str:
    """Return the `repr` of an executor."""
    state = "open" if is_open else "closed"
    return f"<{type(executor).__name__} priority={level.name.lower()!r} max_workers={max_workers} {state}>"
