"""Heavy NumPy and SciPy work in the background, without the desktop or your own window noticing."""

import sys

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
    from ._pausing import no_pause
    from ._processes.breakage import WorkerCrashError
    from ._processes.executor import LowPriorityProcessPoolExecutor
    from ._threads.executor import PriorityThreadPoolExecutor
    from ._threads.interpreters import PriorityInterpreterPoolExecutor
    from ._threads.stats import PoolStats, Stall
    from ._workers import TaskCount, WorkerInfo

    __all__ = [
        "LowPriorityProcessPoolExecutor",
        "PoolStats",
        "PriorityError",
        "PriorityThreadPoolExecutor",
        "PriorityWarning",
        "ProcessPriority",
        "Stall",
        "TaskCount",
        "ThreadPriority",
        "WorkerCrashError",
        "WorkerInfo",
        "get_process_priority",
        "get_thread_priority",
        "no_pause",
        "process_priority",
        "set_process_priority",
        "set_thread_priority",
        "start_process",
        "thread_priority",
    ]
    if sys.version_info >= (3, 14):
        __all__ += ["PriorityInterpreterPoolExecutor"]

# Imported at the first access: a worker of one pool does not need the other one, and ``nicefutures run`` needs none of
# them.
_LATER = {
    "LowPriorityProcessPoolExecutor": "_processes.executor",
    "PoolStats": "_threads.stats",
    "PriorityError": "_levels",
    "PriorityInterpreterPoolExecutor": "_threads.interpreters",
    "PriorityThreadPoolExecutor": "_threads.executor",
    "PriorityWarning": "_levels",
    "ProcessPriority": "_levels",
    "Stall": "_threads.stats",
    "TaskCount": "_workers",
    "ThreadPriority": "_levels",
    "WorkerCrashError": "_processes.breakage",
    "WorkerInfo": "_workers",
    "get_process_priority": "_control",
    "get_thread_priority": "_control",
    "no_pause": "_pausing",
    "process_priority": "_control",
    "set_process_priority": "_control",
    "set_thread_priority": "_control",
    "start_process": "_children",
    "thread_priority": "_control",
}

_NEEDS_INTERPRETERS = "PriorityInterpreterPoolExecutor"


def __getattr__(name: str) -> "Any":
    if name == "__all__":
        return _names()
    if name == "__version__":
        import importlib.metadata

        return importlib.metadata.version(__name__)
    if name not in _LATER:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    if name == _NEEDS_INTERPRETERS and name not in _names():
        msg = f"{name} needs Python 3.14 or later, built with the module _interpreters. This is Python {sys.version}"
        raise ImportError(msg)
    import importlib

    globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*_names(), "__all__", "__version__", *(name for name in globals() if name.startswith("__"))})


def _names() -> list[str]:
    """Return the public names. The search for interpreters is slow, so it is not done at import."""
    import importlib.util

    has_interpreters = sys.version_info >= (3, 14) and importlib.util.find_spec("_interpreters") is not None
    return [name for name in _LATER if has_interpreters or name != _NEEDS_INTERPRETERS]
