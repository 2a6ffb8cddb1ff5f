"""POSIX counts CPUs, and tells nothing of other threads."""

from ..unknown.accounting import (
    count_ready,
    cpu_delay,
    pause,
    thread_cpu_delay,
    thread_cpu_time,
    thread_waits,
    usable_cpus,
)

__all__ = ["count_ready", "cpu_delay", "pause", "thread_cpu_delay", "thread_cpu_time", "thread_waits", "usable_cpus"]
