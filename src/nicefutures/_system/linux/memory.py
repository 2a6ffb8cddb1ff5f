"""Memory: what the machine and the control groups give, what this process has, and its limit."""

from ..limit import ResourceLimit
from . import seam
from .cgroups import memory_limit


def total() -> int:
    installed = seam.system.page_size() * seam.system.memory_pages()
    return min(installed, memory_limit() or installed)


def limit_of_groups() -> int | None:
    return memory_limit()


def in_use() -> int:
    data = int(seam.system.read_text("/proc/self/statm").split()[5])
    return data * seam.system.page_size()


def unused() -> int:
    _, resident, file_backed, _, _, data, _ = map(int, seam.system.read_text("/proc/self/statm").split())
    return max(0, data - (resident - file_backed)) * seam.system.page_size()


def open_limit() -> ResourceLimit:
    return ResourceLimit(seam.system.get_data_limit, seam.system.set_data_limit)


def loaded_libraries(pid: int) -> set[str]:
    try:
        maps = seam.system.read_text(f"/proc/{pid}/maps")
    except OSError:
        return set()
    return {line.rpartition("/")[2] for line in maps.split("\n") if "/" in line}


def count_oom_kills() -> int | None:
    try:
        counters = dict(line.split() for line in seam.system.read_text("/proc/vmstat").splitlines())
    except OSError:
        return None
    return int(counters.get("oom_kill", 0))
