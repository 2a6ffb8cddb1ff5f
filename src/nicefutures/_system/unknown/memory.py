"""As much of memory as psutil knows; it cannot be limited."""

import errno
from typing import NoReturn


def total() -> int:
    import psutil  # for those who ask for a limit

    return int(psutil.virtual_memory().total)


def limit_of_groups() -> int | None:
    return None


def in_use() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def unused() -> int:
    return 0


def stack_size() -> int:
    return 0


def open_exit_trap() -> "NoExitTrap":
    return NoExitTrap()


def is_trapped(exitcode: int) -> bool:
    return False


def open_limit() -> NoReturn:
    raise OSError(errno.ENOTSUP, "this system has no limit of a process's memory that is known here")


def count_oom_kills() -> int | None:
    return None


def loaded_libraries(pid: int) -> set[str]:
    return set()


class NoExitTrap:
    """Where nothing is known to hang in ``exit``."""

    def lay(self) -> None: ...
    def set(self) -> None: ...
    def unset(self) -> None: ...
