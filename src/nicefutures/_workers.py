"""What the operating system says of an executor's workers."""

import contextlib
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

from ._blas import ThreadCap, count_threads, names_blas
from ._platform import backend
from ._priority import PriorityError, ProcessPriority, ThreadPriority
from ._report import WorkerReport


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


def describe_processes(
    pids: Iterable[int], reports: Mapping[int, WorkerReport], cap: ThreadCap | None
) -> list[WorkerInfo]:
    """Describe the worker processes that are alive.

    Parameters
    ----------
    pids : iterable of int
        Their ids.
    reports : dict of int to WorkerReport
        What they have reported.
    cap : ThreadCap or None
        Limit of threads of the libraries that they load.
    """
    found = []
    for pid in pids:
        with contextlib.suppress(PriorityError, psutil.Error):  # it has ended
            found.append(_describe_process(pid, reports.get(pid), cap))
    return found


def _describe_process(pid: int, report: WorkerReport | None, cap: ThreadCap | None) -> WorkerInfo:
    blas_threads = None if report is None else report.blas_threads
    if report is not None and blas_threads is None and cap is not None and names_blas(backend.loaded_libraries(pid)):
        blas_threads = cap.threads
    description = backend.describe(pid)
    process = psutil.Process(pid)
    return WorkerInfo(
        pid=pid,
        tid=None,
        priority=description.level,
        threads=process.num_threads(),
        blas_threads=blas_threads,
        rss=process.memory_info().rss,
        io_class=description.io_class,
    )


def describe_threads(threads: Iterable[threading.Thread]) -> list[WorkerInfo]:
    """Describe the worker threads that are alive."""
    description = backend.describe()
    process = psutil.Process()
    count, rss, blas_threads = process.num_threads(), process.memory_info().rss, count_threads()
    found = []
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended
            if thread.is_alive():
                info = WorkerInfo(
                    pid=os.getpid(),
                    tid=thread.native_id,
                    priority=backend.get_thread(thread),
                    threads=count,
                    blas_threads=blas_threads,
                    rss=rss,
                    io_class=description.io_class,
                )
                found.append(info)
    return found
