"""macOS tells a program nothing simple of other threads."""

from ..unknown.accounting import count_ready, cpu_delay, is_ready, pause, thread_cpu_time, thread_waits, usable_cpus

__all__ = ["count_ready", "cpu_delay", "is_ready", "pause", "thread_cpu_time", "thread_waits", "usable_cpus"]
