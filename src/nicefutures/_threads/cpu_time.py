"""The CPU time that each Python thread has used, as far as the system tells it."""

import threading
from collections.abc import Iterable
from typing import Final

from .._system import backend

# Whether the system tells of a thread how much CPU time it has used so far; macOS does not in a simple way.
TOLD: Final = backend.accounting.thread_cpu_time(threading.get_native_id()) is not None


def read_all() -> dict[int, int]:
    """Return the CPU time of each Python thread, by native id, in the unit of the system; nothing if it does not tell.

    The thread that watches is none of them.
    """
    return read_each(thread.native_id for thread in threading.enumerate())


def read_each(tids: Iterable[int | None]) -> dict[int, int]:
    """Return the CPU time of each thread, without those of which it is not known."""
    if not TOLD:
        return {}
    times = {tid: backend.accounting.thread_cpu_time(tid) for tid in tids if tid is not None}
    return {tid: used for tid, used in times.items() if used is not None}
