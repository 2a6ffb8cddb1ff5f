"""Python's own functions, even if a test or a program replaces them under their names.

freezegun stops the clocks, pyfakefs replaces `os` and `open`, and gevent replaces threads: in their own modules, and in
all others that have imported them. None of these tools searches objects or partial functions.
"""

import functools
import io
import os as _os
import queue
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

try:  # not the class that gevent and eventlet put into `queue`
    from _queue import SimpleQueue as SimpleQueue  # noqa: PLC0414, exported
except ImportError:
    from queue import SimpleQueue

if TYPE_CHECKING:
    import os as os  # noqa: PLC0414, exported
else:
    # The functions come from the module "posix" or "nt".
    os = SimpleNamespace(**{**vars(_os), **vars(sys.modules[_os.name]), "environ": _os.environ})

# The only clock for deadlines; freezegun does not replace it. On Linux and macOS it stands still while the computer
# sleeps. On Windows, `time.monotonic` counts in steps of 16 ms, up to Python 3.12.
now: Callable[[], float] = functools.partial(time.perf_counter)
now_ns: Callable[[], int] = functools.partial(time.perf_counter_ns)
_time: Final[Any] = time  # Any: for a type checker, Windows has no such clocks
if hasattr(time, "clock_gettime"):
    _clock: Final = getattr(_time, "CLOCK_UPTIME_RAW", _time.CLOCK_MONOTONIC)
    now = functools.partial(_time.clock_gettime, _clock)
    now_ns = functools.partial(_time.clock_gettime_ns, _clock)


def open_file(path: str, mode: str = "r", **options: Any) -> io.TextIOWrapper:
    """Open a text file, as `open`."""
    file = io.FileIO(path, mode)
    return io.TextIOWrapper(io.BufferedWriter(file) if mode == "w" else io.BufferedReader(file), **options)


def are_threads_green() -> bool:
    """Return whether gevent or eventlet has replaced Python's threads by greenlets, which the system does not know.

    A greenlet must not wait in C, because all others of the program would wait as well.
    """
    return queue.SimpleQueue is not SimpleQueue
