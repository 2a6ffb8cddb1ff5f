"""The address space of this process, and its limit."""

from ..limit import ResourceLimit
from ..unknown.memory import count_oom_kills, limit_of_groups, loaded_libraries, total
from . import seam

__all__ = ["count_oom_kills", "in_use", "limit_of_groups", "loaded_libraries", "open_limit", "total", "unused"]


def in_use() -> int:
    return seam.system.address_space()


def unused() -> int:
    return max(0, seam.system.address_space() - seam.system.resident())


def open_limit() -> ResourceLimit:
    return ResourceLimit(seam.system.get_address_limit, seam.system.set_address_limit)
