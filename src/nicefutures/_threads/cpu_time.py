"""The CPU time that Python threads have used, in ns, if the system tells."""

import threading
from collections.abc import Iterable
from typing import Final

from .._system import backend

# Whether this system tells the CPU time of a thread.
TOLD: Final = backend.accounting.thread_cpu_time(threading.get_native_id()) is not None


def read_all() -> dict[int, int]:
    """Return the CPU time of each Python thread, by native id; empty if the system does not tell.

    The watching thread is not among them.
    """
    return read_each(thread.native_id for thread in threading.enumerate())


def read_each(tids: Iterable[int | None]) -> dict[int, int]:
    """Return the CPU time of each of these threads for which it is known."""
    if not TOLD:
        return {}
    times = {tid: backend.accounting.thread_cpu_time(tid) for tid in tids if tid is not None}
    return {tid: used for tid, used in times.items() if used is not None}
