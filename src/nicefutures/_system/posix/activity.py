"""Use of this machine: the desktop tells the time of the last input, psutil the battery and CPU times."""

from collections.abc import Callable

from ..unknown import busy_seconds, list_threads, list_usage, open_battery, open_memory
from . import desktop, seam

__all__ = ["busy_seconds", "list_threads", "list_usage", "open_battery", "open_idle_clock", "open_memory"]


def open_idle_clock() -> Callable[[], float]:
    return desktop.open_clock(desktop.SOURCES, seam.system.connect)
