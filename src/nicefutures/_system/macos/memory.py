"""The address space of this process; macOS takes a limit and does not enforce it."""

import errno
from typing import NoReturn

from ..posix.memory import (
    count_oom_kills,
    in_use,
    is_trapped,
    limit_of_groups,
    loaded_libraries,
    open_exit_trap,
    stack_size,
    total,
    unused,
)

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


def open_limit() -> NoReturn:
    raise OSError(errno.ENOTSUP, "macOS takes a limit and does not enforce it")
