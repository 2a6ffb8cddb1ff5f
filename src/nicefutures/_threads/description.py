"""Describes worker threads, with data of the operating system."""

import contextlib
import os
import threading
from collections.abc import Iterable

import psutil

from .._blas import count_threads
from .._system import backend
from .._workers import WorkerInfo


def describe_threads(threads: Iterable[threading.Thread]) -> list[WorkerInfo]:
    """Describe the worker threads that are alive."""
    description = backend.priority.describe()
    process = psutil.Process()
    count, rss, blas_threads = process.num_threads(), process.memory_info().rss, count_threads()
    found = []
    for thread in threads:
        with contextlib.suppress(OSError):  # it has ended
            if thread.is_alive():
                used = backend.accounting.thread_cpu_time(thread.native_id or 0)
                info = WorkerInfo(
                    pid=os.getpid(),
                    tid=thread.native_id,
                    priority=backend.priority.get_thread(thread),
                    threads=count,
                    blas_threads=blas_threads,
                    rss=rss,
                    io_class=description.io_class,
                    cpu_time=None if used is None else used / 1e9,
                )
                found.append(info)
    return found
