"""The address space of this process, and its limit."""

from ..limit import ResourceLimit, default_stack_size
from ..unknown import count_oom_kills, is_trapped, limit_of_groups, loaded_libraries, open_exit_trap, total
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
    return seam.system.address_space()


def unused() -> int:
    return max(0, seam.system.address_space() - seam.system.resident())


def stack_size() -> int:
    return default_stack_size(seam.system.get_stack_limit())


def open_limit() -> ResourceLimit:
    return ResourceLimit(seam.system.get_address_limit, seam.system.set_address_limit)
