"""Heavy NumPy and SciPy work in the background, without the desktop or your own window noticing."""

from ._control import (
    get_process_priority,
    get_thread_priority,
    process_priority,
    set_process_priority,
    set_thread_priority,
    thread_priority,
)
from ._priority import PriorityError, PriorityWarning, ProcessPriority, ThreadPriority
from ._process_pool import LowPriorityProcessPoolExecutor
from ._regulator import PoolStats, Stall
from ._thread_pool import PriorityThreadPoolExecutor

__all__ = [
    "LowPriorityProcessPoolExecutor",
    "PoolStats",
    "PriorityError",
    "PriorityThreadPoolExecutor",
    "PriorityWarning",
    "ProcessPriority",
    "Stall",
    "ThreadPriority",
    "get_process_priority",
    "get_thread_priority",
    "process_priority",
    "set_process_priority",
    "set_thread_priority",
    "thread_priority",
]
