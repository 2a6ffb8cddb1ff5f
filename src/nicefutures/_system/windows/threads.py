"""Any threads of this process."""

import contextlib
import os
import sys
import threading
from collections.abc import Iterable

from ..._levels import Shortfall, ThreadPriority
from . import seam
from .priority import nearest_thread


def of_libraries() -> list[int]:
    """Return the threads that Python did not start, and that start in a library that is not part of Windows."""
    found = seam.system.threads(None)
    python = {thread.native_id for thread in threading.enumerate()}
    if None in python:  # a thread is just starting, and cannot be told from the others
        return []
    own = os.path.normcase(os.environ.get("SYSTEMROOT", "C:\\Windows"))
    starts = {}
    for tid in set(found) - python:
        with contextlib.suppress(OSError):  # the thread has ended
            starts[tid] = os.path.normcase(seam.system.start_of_thread(tid))
    no_library = ("", os.path.normcase(sys.executable))
    return [tid for tid, start in starts.items() if start not in no_library and not start.startswith(own)]


def get_levels(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    return {tid: nearest_thread(value) for tid, value in save_levels(tids).items()}


def save_levels(tids: Iterable[int]) -> dict[int, int]:
    saved = {}
    for tid in tids:
        with contextlib.suppress(OSError):  # the thread has ended
            saved[tid] = seam.system.get_thread_priority(tid)
    return saved


def set_levels(tids: Iterable[int], priority: ThreadPriority) -> None:
    restore_levels(dict.fromkeys(tids, priority.value))


def restore_levels(saved: dict[int, int]) -> Shortfall | None:
    for tid, value in saved.items():
        with contextlib.suppress(OSError):  # it has ended; Windows lets a process set its own threads
            seam.system.set_thread_priority(value, tid)
    return None
