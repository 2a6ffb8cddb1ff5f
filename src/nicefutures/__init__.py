"""Heavy NumPy and SciPy work in the background, without the desktop or your own window noticing."""

import importlib
from typing import TYPE_CHECKING, Any

from ._control import (
    get_process_priority,
    get_thread_priority,
    process_priority,
    set_process_priority,
    set_thread_priority,
    thread_priority,
)
from ._levels import PriorityError, PriorityWarning, ProcessPriority, ThreadPriority

if TYPE_CHECKING:
    from ._children import start_process
    from ._processes.breakage import WorkerCrashError
    from ._processes.executor import LowPriorityProcessPoolExecutor
    from ._threads.executor import PriorityThreadPoolExecutor
    from ._threads.stats import PoolStats, Stall
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
    "WorkerCrashError",
    "WorkerInfo",
    "get_process_priority",
    "get_thread_priority",
    "process_priority",
    "set_process_priority",
    "set_thread_priority",
    "start_process",
    "thread_priority",
]

# Imported when they are first asked for: a worker of one pool does without the other one.
_LATER = {
    "LowPriorityProcessPoolExecutor": "._processes.executor",
    "PoolStats": "._threads.stats",
    "PriorityThreadPoolExecutor": "._threads.executor",
    "Stall": "._threads.stats",
    "WorkerCrashError": "._processes.breakage",
    "WorkerInfo": "._workers",
    "start_process": "._children",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value = getattr(importlib.import_module(_LATER[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
