"""CPUs, and what threads do with them."""

import threading
import time

from ..common import count_cpus
from ..unknown.accounting import count_ready, cpu_delay, is_ready, thread_waits
from . import seam

__all__ = ["count_ready", "cpu_delay", "is_ready", "pause", "thread_cpu_time", "thread_waits", "usable_cpus"]


def usable_cpus() -> float:
    try:
        return min(count_cpus(), seam.system.affinity())
    except OSError:
        return count_cpus()


def thread_cpu_time(tid: int) -> int | None:
    """Return CPU cycles: the times that GetThreadTimes tells are whole ticks of 15.6 ms."""
    try:
        return seam.system.thread_cycles(tid)
    except OSError:  # Wine does not count them
        return None


def pause(stop: threading.Lock, seconds: float) -> bool:
    """Sleep, with the timer of high resolution that Python has for that; the timeouts of its locks are whole ticks."""
    time.sleep(seconds)
    return stop.acquire(blocking=False)
