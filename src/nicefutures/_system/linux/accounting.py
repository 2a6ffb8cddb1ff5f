"""The number of CPUs and their quota, and the CPU times of threads."""

import contextlib
from collections.abc import Callable, Iterator

from ..._originals import os
from ..common import count_cpus
from ..unknown import pause
from . import seam
from .cgroups import cpu_quota

__all__ = ["count_ready", "cpu_delay", "pause", "thread_cpu_delay", "thread_cpu_time", "thread_waits", "usable_cpus"]


def usable_cpus() -> float:
    cpus = count_cpus()
    with contextlib.suppress(OSError):
        cpus = min(cpus, seam.system.affinity())
    return min(cpus, cpu_quota() or cpus)


def count_ready() -> int | None:
    try:  # "0.20 0.18 0.12 1/80 11206", proc_loadavg(5)
        return int(seam.system.read_text("/proc/loadavg").split()[3].partition("/")[0])
    except (OSError, IndexError, ValueError):
        return None


@contextlib.contextmanager
def cpu_delay() -> Iterator[Callable[[], int]]:
    try:
        schedstat = seam.system.open_schedstat()
    except OSError:  # a kernel without CONFIG_SCHED_INFO, or no /proc
        yield lambda: 0
        return
    last = 0

    def read() -> int:
        nonlocal last
        with contextlib.suppress(OSError, IndexError, ValueError):  # the program has closed this file, or all files
            last = int(seam.system.read_schedstat(schedstat).split()[1])
        return last

    try:
        yield read
    finally:
        with contextlib.suppress(OSError):
            os.close(schedstat)


def thread_cpu_time(tid: int) -> int | None:
    try:
        return seam.system.cpu_time(tid)
    except OSError:
        return None


def thread_cpu_delay(tid: int) -> int:
    try:
        return int(seam.system.read_text(f"/proc/self/task/{tid}/schedstat").split()[1])
    except OSError:  # the thread has ended, or there is no file, as above
        return 0


def thread_waits() -> int | None:
    return seam.system.voluntary_switches()
