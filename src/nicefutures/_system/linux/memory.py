"""Memory: the amount that the machine and the control groups allow, the use by this process, and its limit."""

import contextlib
from typing import Final

from ..limit import ResourceLimit, default_stack_size
from . import seam
from .cgroups import memory_limit

_EXIT: Final = 64  # SIGRTMAX, which no other code uses; its default action ends the process (signal(7))


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


def stack_size() -> int:
    return default_stack_size(seam.system.get_stack_limit())


def open_exit_trap() -> "ExitTrap":
    return ExitTrap()


class ExitTrap:
    """Makes ``exit`` raise a signal before it does anything else. The signal is ignored unless the trap is set."""

    def __init__(self) -> None:
        self.lay()
        self.unset()

    def lay(self) -> None:
        with contextlib.suppress(ImportError, OSError):  # no ctypes, or no memory: as without a trap
            seam.system.raise_at_exit(_EXIT)

    def set(self) -> None:
        seam.system.set_signal(_EXIT, is_ignored=False)

    def unset(self) -> None:
        seam.system.set_signal(_EXIT, is_ignored=True)


def is_trapped(exitcode: int) -> bool:
    return exitcode == -_EXIT


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
