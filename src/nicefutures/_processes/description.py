"""Ask the operating system about worker processes."""

import contextlib
from collections.abc import Collection, Mapping

import psutil

from .._blas import ThreadCap, names_blas
from .._levels import PriorityError
from .._system import backend
from .._workers import WorkerInfo
from .wire import WorkerReport


def describe_processes(
    reports: Mapping[int, WorkerReport | None], cap: ThreadCap | None, still: Collection[int]
) -> list[WorkerInfo]:
    """Describe living workers, from their reports, the thread limit of their libraries, and those that stand still."""
    found = []
    for pid, report in reports.items():
        with contextlib.suppress(PriorityError, psutil.Error):  # the worker has ended
            found.append(_describe_process(pid, report, cap, paused=pid in still))
    return found


def _describe_process(pid: int, report: WorkerReport | None, cap: ThreadCap | None, *, paused: bool) -> WorkerInfo:
    blas_threads = None if report is None else report.blas_threads
    if (
        report is not None
        and blas_threads is None
        and cap is not None
        and names_blas(backend.memory.loaded_libraries(pid))
    ):
        blas_threads = cap.threads
    description = backend.priority.describe(pid)
    process = psutil.Process(pid)
    used = process.cpu_times()
    return WorkerInfo(
        pid=pid,
        tid=None,
        priority=description.level,
        threads=process.num_threads(),
        blas_threads=blas_threads,
        rss=process.memory_info().rss,
        io_class=description.io_class,
        cpu_time=used.user + used.system,
        paused=paused,
    )
