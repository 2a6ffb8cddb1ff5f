"""Heavy NumPy and SciPy work in the background, without the desktop or your own window noticing."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from ._workers import WorkerInfo

__all__ = [
    "LowPriorityProcessPoolExecutor",
    "PoolStats",
    "PriorityError",
    "PriorityThreadPoolExecutor",
    "PriorityWarning",
    "ProcessPriority",
    "Stall",
    "ThreadPriority",
    "WorkerInfo",
    "get_process_priority",
    "get_thread_priority",
    "process_priority",
    "set_process_priority",
    "set_thread_priority",
    "thread_priority",
]


def __getattr__(name: str) -> Any:
    # Its dataclass and psutil are imported by those who ask for it, and not by every worker.
    if name == "WorkerInfo":
        from ._workers import WorkerInfo

        return WorkerInfo
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
