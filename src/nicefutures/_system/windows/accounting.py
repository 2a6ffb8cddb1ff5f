"""CPUs, and how much of them each thread uses."""

import functools
import threading
import time
from typing import Final

from ..common import count_cpus
from ..unknown.accounting import count_ready, cpu_delay, thread_cpu_delay, thread_waits
from . import seam

__all__ = ["count_ready", "cpu_delay", "pause", "thread_cpu_delay", "thread_cpu_time", "thread_waits", "usable_cpus"]

# How often the rate of cycles is measured, and for how long: the thread may lose its CPU meanwhile.
_TRIES: Final = 5
_TRY_NS: Final = 200_000


def usable_cpus() -> float:
    try:
        return min(count_cpus(), seam.system.affinity())
    except OSError:
        return count_cpus()


def thread_cpu_time(tid: int) -> int | None:
    """Return it from CPU cycles: GetThreadTimes counts whole ticks of 15.6 ms."""
    try:
        return round(seam.system.thread_cycles(tid) / _cycles_per_ns())
    except OSError:  # Wine does not count them
        return None


@functools.cache
def _cycles_per_ns() -> float:
    """Measure the rate: what a cycle is depends on the processor, says the documentation of QueryThreadCycleTime."""
    tid, rates = threading.get_native_id(), []
    for _ in range(_TRIES):
        cycles, began = seam.system.thread_cycles(tid), time.perf_counter_ns()
        while (took := time.perf_counter_ns() - began) < _TRY_NS:
            pass
        rates.append((seam.system.thread_cycles(tid) - cycles) / took)
    if not max(rates):
        msg = "cycles are not counted here"
        raise OSError(msg)
    return max(rates)


def pause(stop: threading.Lock, seconds: float) -> bool:
    """Sleep, with the timer of high resolution that Python has for that; the timeouts of its locks are whole ticks."""
    time.sleep(seconds)
    return stop.acquire(blocking=False)
