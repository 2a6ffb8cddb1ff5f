"""The number of CPUs, and the CPU time of threads."""

from ..unknown import count_ready, cpu_delay, pause, thread_cpu_delay, thread_waits, usable_cpus
from . import seam

__all__ = ["count_ready", "cpu_delay", "pause", "thread_cpu_delay", "thread_cpu_time", "thread_waits", "usable_cpus"]


def thread_cpu_time(tid: int) -> int | None:
    try:
        return seam.system.thread_cpu_time(tid)
    except OSError:
        return None
