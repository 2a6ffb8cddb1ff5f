"""The memory that this process commits, and its limit, a job object."""

from ..unknown import (
    count_oom_kills,
    is_trapped,
    limit_of_groups,
    open_exit_trap,
    stack_size,
    total,
)
from . import seam

__all__ = [
    "count_oom_kills",
    "in_use",
    "is_trapped",
    "limit_of_groups",
    "loaded_libraries",
    "open_exit_trap",
    "open_limit",
    "stack_size",
    "total",
    "unused",
]


def in_use() -> int:
    return seam.system.committed()


def unused() -> int:
    """Return 0: all committed memory counts, because the system must be able to provide it."""
    return 0


def open_limit() -> "MemoryLimit":
    return MemoryLimit()


class MemoryLimit:
    """A job object's limit of the memory that this process commits."""

    def __init__(self) -> None:
        self._limit = 0
        self._job = seam.system.open_job()

    def hold(self, limit: int) -> None:
        self._limit = limit
        seam.system.set_job_limit(self._job, limit)

    def lift(self) -> None:
        seam.system.set_job_limit(self._job, None)

    def in_force(self) -> bool:
        return seam.system.get_job_limit(self._job) == self._limit


def loaded_libraries(pid: int) -> set[str]:
    try:
        return seam.system.libraries(pid)
    except OSError:
        return set()
