"""A command takes the place of this process. As ``posix.command``, without the seam, but for I/O."""

import os

from ..posix.command import is_program, replace_process
from .ioprio import IoprioCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["become", "is_program", "lower_early"]

_linux: "Any" = os  # a type checker's other systems lack what is called here

_SCHED_OTHER = 0

# Policy, nice and I/O priority of the levels that are asked for most, as `scheduling.PROCESS_TARGETS` has them.
TARGETS = {"idle": (5, None, 3 << 13), "below_normal": (3, 10, 2 << 13 | 6)}


def lower_early(level: str) -> bool:
    if level not in TARGETS:
        return False
    policy, nice, ioprio = TARGETS[level]
    try:
        io = IoprioCalls()
        if len(os.listdir("/proc/self/task")) > 1 or _linux.sched_getscheduler(0) not in (_SCHED_OTHER, policy):
            return False
        if (nice is not None and _get_nice() > nice) or io.get(0) > ioprio:  # lower already
            return False
        if nice is not None:
            _linux.setpriority(_linux.PRIO_PROCESS, 0, nice)
        _linux.sched_setscheduler(0, policy, _linux.sched_param(0))
        io.set(0, ioprio)
        return _linux.sched_getscheduler(0) == policy and nice in (None, _get_nice()) and io.get(0) == ioprio
    except OSError:
        return False


def _get_nice() -> int:
    nice: int = _linux.getpriority(_linux.PRIO_PROCESS, 0)
    return nice


def become(command: list[str], level: str, *, efficiency: bool) -> int:
    replace_process(command, _read_first_locale)


def _read_first_locale() -> str | None:
    with open("/proc/self/environ", "rb") as file:
        for entry in file.read().split(b"\0"):
            name, _, value = entry.partition(b"=")
            if name == b"LC_CTYPE":
                return os.fsdecode(value)
    return None
