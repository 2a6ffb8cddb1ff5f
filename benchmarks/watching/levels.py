"""The actual priorities of threads, as reported by the operating system and not by the library."""

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..system import LINUX, level_of_thread


def process_levels() -> dict[str, int]:
    """Return the number of threads of this process at each priority; 1 where all threads share one priority."""
    if not LINUX:
        import psutil  # which interpreters cannot import

        nice = psutil.Process().nice()
        return {str(getattr(nice, "name", f"nice {nice}")): 1}
    levels = Counter[str]()
    for task in Path("/proc/self/task").iterdir():
        try:
            levels[level_of_thread(int(task.name))] += 1
        except ProcessLookupError:
            continue
    return dict(levels)


def thread_levels() -> dict[str, int]:
    """Return the priority of the calling thread; except on Linux, as the library reads it."""
    if LINUX:
        return {level_of_thread(threading.get_native_id()): 1}
    from nicefutures import get_thread_priority

    return {f"thread {get_thread_priority().name}": 1}


def describe(levels: Mapping[str, int]) -> str:
    """Return the priorities in one line, with the number of threads at each if they differ.

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
