"""The number of CPUs, and the CPU time of threads."""

import functools
import threading
import time
from typing import Final

from ..._originals import now_ns
from ..common import count_cpus
from ..unknown import count_ready, cpu_delay, thread_cpu_delay, thread_waits
from . import seam

__all__ = ["count_ready", "cpu_delay", "pause", "thread_cpu_delay", "thread_cpu_time", "thread_waits", "usable_cpus"]

# Number of measurements of the cycle rate, and length of each: the thread may lose its CPU during one.
_TRIES: Final = 5
_TRY_NS: Final = 200_000


def usable_cpus() -> float:
    try:
        return min(count_cpus(), seam.system.affinity())
    except OSError:
        return count_cpus()


def thread_cpu_time(tid: int) -> int | None:
    """Return the CPU time, from CPU cycles: GetThreadTimes counts whole ticks of 15.6 ms."""
    try:
        return round(seam.system.thread_cycles(tid) / _cycles_per_ns())
    except OSError:  # Wine does not count cycles
        return None


@functools.cache
def _cycles_per_ns() -> float:
    """Measure the cycle rate: the length of a cycle depends on the processor (manual of QueryThreadCycleTime)."""
    tid, rates = threading.get_native_id(), []
    for _ in range(_TRIES):
        cycles, began = seam.system.thread_cycles(tid), now_ns()
        while (took := now_ns() - began) < _TRY_NS:
            pass
        rates.append((seam.system.thread_cycles(tid) - cycles) / took)
    if not max(rates):
        msg = "cycles are not counted here"
        raise OSError(msg)
    return max(rates)


def pause(stop: threading.Lock, seconds: float) -> bool:
    """Sleep, for which Python has a timer of high resolution; the timeouts of its locks are whole ticks."""
    time.sleep(seconds)
    return stop.acquire(blocking=False)
