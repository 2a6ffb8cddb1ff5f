"""Any threads of this process."""

import os
import sys
import threading
from collections.abc import Iterable
from typing import Final

from ..._levels import Shortfall, ThreadPriority
from . import seam
from .scheduling import THREAD_TARGETS, Scheduling, nearest_thread
from .walk import list_threads, read_all, restore_each, set_each

_LONGEST_NAME: Final = 15  # of a thread, TASK_COMM_LEN - 1


def of_libraries() -> list[int]:
    """Return the threads that Python did not start, and that have no name of their own.

    A new thread has the name of the thread that started it (``clone(2)``). Threads of OpenBLAS, MKL and OpenMP keep
    that name; threads of communication libraries usually get another one.
    """
    found = list_threads(seam.system.process_id())[0]
    python = [thread.native_id for thread in threading.enumerate()]
    if None in python:  # a thread is just starting, and cannot be told from the others
        return []
    names = {_thread_name(tid) for tid in python if tid is not None}
    # The main thread may have got another name since.
    names.update(
        os.path.basename(path)[:_LONGEST_NAME] for path in (sys.executable, seam.system.executable(), sys.argv[0])
    )
    return [tid for tid in found if tid not in python and _thread_name(tid) in names]


def get_levels(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    return {tid: nearest_thread(now) for tid, now in read_all(tids).items()}


def save_levels(tids: Iterable[int]) -> dict[int, Scheduling]:
    return read_all(tids)


def set_levels(tids: Iterable[int], priority: ThreadPriority) -> None:
    set_each(dict.fromkeys(tids, THREAD_TARGETS[priority]))


def restore_levels(saved: dict[int, Scheduling]) -> Shortfall | None:
    return restore_each(saved, "the priority of a thread")


def _thread_name(tid: int) -> str | None:
    try:
        return seam.system.read_text(f"/proc/self/task/{tid}/comm").rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):  # the thread has ended
        return None
