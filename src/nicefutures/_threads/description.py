"""What the operating system says of worker threads."""

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
                info = WorkerInfo(
                    pid=os.getpid(),
                    tid=thread.native_id,
                    priority=backend.priority.get_thread(thread),
                    threads=count,
                    blas_threads=blas_threads,
                    rss=rss,
                    io_class=description.io_class,
                )
                found.append(info)
    return found
