"""Heavy NumPy and SciPy work in the background, without the desktop or your own window noticing."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    __version__: str

    from ._children import start_process
    from ._control import (
        get_process_priority,
        get_thread_priority,
        process_priority,
        set_process_priority,
        set_thread_priority,
        thread_priority,
    )
    from ._levels import PriorityError, PriorityWarning, ProcessPriority, ThreadPriority
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

# Imported when they are first asked for: a worker of one pool does without the other one, and ``nicefutures run``
# without all of them.
_LATER = {
    "LowPriorityProcessPoolExecutor": "_processes.executor",
    "PoolStats": "_threads.stats",
    "PriorityError": "_levels",
    "PriorityThreadPoolExecutor": "_threads.executor",
    "PriorityWarning": "_levels",
    "ProcessPriority": "_levels",
    "Stall": "_threads.stats",
    "ThreadPriority": "_levels",
    "WorkerCrashError": "_processes.breakage",
    "WorkerInfo": "_workers",
    "get_process_priority": "_control",
    "get_thread_priority": "_control",
    "process_priority": "_control",
    "set_process_priority": "_control",
    "set_thread_priority": "_control",
    "start_process": "_children",
    "thread_priority": "_control",
}


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version(__name__)
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib

    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, "__version__", *(name for name in globals() if name.startswith("__"))})
