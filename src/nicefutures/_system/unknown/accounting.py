"""No accounting that is known: the CPUs that Python counts, and nothing of threads."""

import contextlib
import threading
from collections.abc import Callable, Iterator

from ..common import count_cpus


def usable_cpus() -> float:
    return count_cpus()


def count_ready() -> int | None:
    return None


@contextlib.contextmanager
def cpu_delay() -> Iterator[Callable[[], int]]:
    yield lambda: 0


def thread_cpu_time(tid: int) -> int | None:
    return None


def thread_cpu_delay(tid: int) -> int:
    return 0


def thread_waits() -> int | None:
    return None


def pause(stop: threading.Lock, seconds: float) -> bool:
    """Wait for the lock, which is as exact as to sleep."""
    return stop.acquire(timeout=seconds)
