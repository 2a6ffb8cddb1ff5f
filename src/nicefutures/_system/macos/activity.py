"""The time of the last input, and the memory pressure; psutil tells the battery and CPU times.

Some facts:

* The kernel's level of memory pressure is 1 (normal), 2 (warning) or 4 (critical), as in ``<dispatch/source.h>``.
  Programs should free memory from level 2 on.
* An unprivileged process sees the CPU times of its own user's processes only (``proc_pidinfo``). A QoS class is not
  visible to other processes, so only processes at nice > 0 are known to have a low priority.
"""

from collections.abc import Callable
from typing import Final

from ..common import answering
from ..unknown import busy_seconds, list_threads, list_usage, open_battery
from . import seam

__all__ = ["busy_seconds", "list_threads", "list_usage", "open_battery", "open_idle_clock", "open_memory"]

_WARNING: Final = 2


def open_idle_clock() -> Callable[[], float]:
    reason = "macOS does not tell when the keyboard was last used"
    return answering(seam.system.seconds_since_input, reason, "Start the program in a session with a desktop.")


def open_memory() -> Callable[[], bool]:
    return answering(_is_memory_low, "macOS does not tell its memory pressure", "Use macOS 10.9 or later.")


def _is_memory_low() -> bool:
    return seam.system.memory_pressure() >= _WARNING
