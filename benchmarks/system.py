"""The operating system, and calls that only some systems have. No other module here asks for the system's name.

This module imports little, because the processes that watch need it.
"""

import os
import signal
import sys
from typing import Any, Final

LINUX: Final = sys.platform == "linux"
MACOS: Final = sys.platform == "darwin"
WINDOWS: Final = sys.platform == "win32"


def usable_cpus() -> int:
    """Return how many CPUs this process may use; except on Linux at most 61, the most workers of a pool on Windows."""
    if sys.platform == "linux":
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = min(os.cpu_count() or 1, 61)
    return cpus


def raise_to_real_time(priority: int) -> bool:
    """Give this process a real-time priority, so that no other process delays it; return whether that succeeded."""
    if sys.platform == "linux":
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        except OSError:
            return False
        else:
            return True
    else:
        return False


def lower_by_psutil() -> None:
    """Lower this process as far as psutil can."""
    import psutil

    if sys.platform == "win32":
        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)
    else:
        psutil.Process().nice(19)


def lower_by_os_nice() -> None:
    """Lower this process as far as `os.nice` can; do nothing on Windows, which lacks it."""
    if sys.platform != "win32":
        os.nice(19)


def lower_thread(tid: int) -> None:
    """Lower a thread to nice 19 on Linux, where each thread has its own nice value."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, tid, 19)


def level_of_thread(tid: int) -> str:
    """Return the policy of a thread and its nice value, on Linux; "" elsewhere."""
    if sys.platform == "linux":
        policies = {
            os.SCHED_OTHER: "SCHED_OTHER",
            os.SCHED_BATCH: "SCHED_BATCH",
            os.SCHED_IDLE: "SCHED_IDLE",
            os.SCHED_FIFO: "SCHED_FIFO",
            os.SCHED_RR: "SCHED_RR",
        }
        policy = policies.get(os.sched_getscheduler(tid), "unknown policy")
        level = policy if policy == "SCHED_IDLE" else f"{policy} nice {os.getpriority(os.PRIO_PROCESS, tid)}"
    else:
        level = ""
    return level


def cpu_ns_of_thread(tid: int) -> int | None:
    """Return the CPU time of a thread of this process, in ns; None where the system does not report it."""
    if not LINUX:
        return None
    with open(f"/proc/self/task/{tid}/schedstat", encoding="ascii") as numbers:
        return int(numbers.read().split()[0])  # the first one: Documentation/scheduler/sched-stats.rst


def end_group(leader: Any) -> None:
    """End a process and its group; on Windows, which has no such groups, only the process."""
    if sys.platform == "win32":
        leader.kill()
    else:
        # Not SIGKILL: multiprocessing's resource tracker ignores SIGTERM, cleans up when the others are gone, and ends.
        try:  # noqa: SIM105, contextlib would be another import
            os.killpg(leader.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def is_in_group(pid: int, leader: int) -> bool:
    """Return whether ending the leader's group ends a process."""
    return sys.platform != "win32" and os.getpgid(pid) == leader
