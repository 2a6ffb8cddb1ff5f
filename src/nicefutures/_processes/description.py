"""What the operating system says of worker processes."""

import contextlib
from collections.abc import Mapping

import psutil

from .._blas import ThreadCap, names_blas
from .._levels import PriorityError
from .._system import backend
from .._workers import WorkerInfo
from .wire import WorkerReport


def describe_processes(reports: Mapping[int, WorkerReport | None], cap: ThreadCap | None) -> list[WorkerInfo]:
    """Describe the worker processes that are alive.

    Parameters
    ----------
    reports : dict of int to WorkerReport or None
        What they have reported so far, by process id.
    cap : ThreadCap or None
        Limit of threads of the libraries that they load.
    """
    found = []
    for pid, report in reports.items():
        with contextlib.suppress(PriorityError, psutil.Error):  # it has ended
            found.append(_describe_process(pid, report, cap))
    return found


def _describe_process(pid: int, report: WorkerReport | None, cap: ThreadCap | None) -> WorkerInfo:
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
    return WorkerInfo(
        pid=pid,
        tid=None,
        priority=description.level,
        threads=process.num_threads(),
        blas_threads=blas_threads,
        rss=process.memory_info().rss,
        io_class=description.io_class,
    )
