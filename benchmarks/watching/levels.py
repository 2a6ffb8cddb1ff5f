"""At which priority threads really are, as the operating system tells it, not as the library does."""

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import psutil

from ..system import LINUX, level_of_thread


def process_levels() -> dict[str, int]:
    """Return how many threads of this process are at each level; one where it has one for all of them."""
    if not LINUX:
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
    """Return the level of the calling thread; where psutil knows none, as the library reads it."""
    if LINUX:
        return {level_of_thread(threading.get_native_id()): 1}
    from nicefutures import get_thread_priority

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
