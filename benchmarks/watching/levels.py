"""At which priority threads really are, as the operating system tells it, not as the library does."""

import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil

if sys.platform == "linux":
    _POLICIES = {
        os.SCHED_OTHER: "SCHED_OTHER",
        os.SCHED_BATCH: "SCHED_BATCH",
        os.SCHED_IDLE: "SCHED_IDLE",
        os.SCHED_FIFO: "SCHED_FIFO",
        os.SCHED_RR: "SCHED_RR",
    }

    def _level_of(tid: int) -> str:
        policy = _POLICIES.get(os.sched_getscheduler(tid), "unknown policy")
        return policy if policy == "SCHED_IDLE" else f"{policy} nice {os.getpriority(os.PRIO_PROCESS, tid)}"

    def process_levels() -> dict[str, int]:
        """Return how many threads of this process are at each level."""
        levels = Counter[str]()
        for task in Path("/proc/self/task").iterdir():
            try:
                levels[_level_of(int(task.name))] += 1
            except ProcessLookupError:
                continue
        return dict(levels)

    def thread_levels() -> dict[str, int]:
        """Return the level of the calling thread."""
        return {_level_of(threading.get_native_id()): 1}

else:
    from nicefutures import get_thread_priority

    def process_levels() -> dict[str, int]:
        """Return the level of this process."""
        nice = psutil.Process().nice()
        return {str(getattr(nice, "name", f"nice {nice}")): 1}

    def thread_levels() -> dict[str, int]:
        """Return the level of the calling thread: psutil knows none, so the library has to read it."""
        return {f"thread {get_thread_priority().name}": 1}


def describe(levels: Mapping[str, int]) -> str:
    """Return the levels in one line, with how many threads are at each if they differ.

    Examples
    --------
    >>> describe({"SCHED_IDLE": 4})
    'SCHED_IDLE'
    >>> describe({"nice 19": 1, "nice 0": 2})
    'nice 0 (2 threads), nice 19 (1)'
    """
    if len(levels) < 2:  # noqa: PLR2004
        return "".join(levels)
    (first, threads), *others = sorted(levels.items())
    return ", ".join([f"{first} ({threads} threads)", *(f"{level} ({count})" for level, count in others)])
