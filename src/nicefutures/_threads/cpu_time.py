"""The CPU time that each Python thread has used, as far as the system tells it."""

import threading
import time
from collections.abc import Iterable
from typing import Final

from .._system import backend
from .gate import Worker

# Whether the system tells of a thread how much CPU time it has used so far; macOS does not in a simple way.
TOLD: Final = backend.accounting.thread_cpu_time(threading.get_native_id()) is not None
# In place of a thread's native id: all threads that are no workers.
REST: Final = -1


def read_all(workers: Iterable[Worker], watcher: threading.Thread) -> dict[int, int]:
    """Return the CPU time of each Python thread, by native id, in the unit of the system.

    Parameters
    ----------
    workers : iterable of Worker
        All there are. Where the system does not tell of threads, what workers used up to their last task counts, and
        the rest of the process as one thread, `REST`.
    watcher : threading.Thread
        The thread that watches, which does not count.
    """
    if not TOLD:
        used = {worker.native_id: worker.used_ns for worker in workers}
        return {**used, REST: time.process_time_ns() - sum(used.values())}
    return read_each(thread.native_id for thread in threading.enumerate() if thread is not watcher)


def read_each(tids: Iterable[int | None]) -> dict[int, int]:
    """Return the CPU time of each thread, without those of which it is not known."""
    times = {tid: backend.accounting.thread_cpu_time(tid) for tid in tids if tid is not None}
    return {tid: used for tid, used in times.items() if used is not None}
