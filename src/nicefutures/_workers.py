"""What an executor tells of its workers."""

from dataclasses import dataclass

from ._levels import ProcessPriority, ThreadPriority


@dataclass(frozen=True)
class WorkerInfo:
    """A worker of an executor.

    Attributes
    ----------
    pid : int
        Process id. Worker threads have that of the process that they are in.
    tid : int or None
        The system's id of a worker thread; None for a worker process.
    priority : ProcessPriority or ThreadPriority
        The level that is nearest to what is in force for it.
    threads : int
        How many threads its process has.
    blas_threads : int or None
        How many threads its BLAS libraries use; None if it has none, or none that threadpoolctl knows. Of a worker
        process it is what the worker has reported when it started, or its limit if it has loaded a library since then.
    rss : int
        Memory of its process that is in RAM, in bytes, what it shares with others included.
    io_class : str or None
        Its I/O class: "idle", "best-effort", "realtime" or "none" (which follows nice) on Linux; "very_low", "low",
        "normal" or "high" on Windows; None elsewhere.
    """

    pid: int
    tid: int | None
    priority: ProcessPriority | ThreadPriority
    threads: int
    blas_threads: int | None
    rss: int
    io_class: str | None
