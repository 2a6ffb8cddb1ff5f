"""Linux control groups: the limits of this process, and its CPU group.

A limit applies to a group and all groups below it, so the strictest limit from the group upwards counts. A container
sees a part of the hierarchy: ``/proc/self/mountinfo`` tells where it is mounted (cgroups(7), proc_pid_mountinfo(5)).
Version 1 has a hierarchy for each controller, version 2 one for all. Both may exist; each controller is in one of them.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from ..._originals import open_file, os

_PROC: Final = "/proc/self"
# In version 1, memory.limit_in_bytes without a limit is the largest number of whole pages below 2**63.
_NO_LIMIT: Final = 2**62
# Escaped are space, tab, newline and backslash (seq_path in fs/seq_file.c).
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class Cgroup(NamedTuple):
    """The group of a process for one controller."""

    version: int  # 1 or 2
    name: str  # its path in the hierarchy, from ``/proc/<pid>/cgroup``
    mount: str  # directory where the hierarchy is mounted
    directory: str  # its directory; `mount` if the group is not below it

    def upwards(self) -> Iterator[str]:
        """Yield the directories from this group up to the mount."""
        directory = self.directory
        while True:
            yield directory
            if directory == self.mount:
                return
            directory = os.path.dirname(directory)


def ranks_cpu(cgroup: Cgroup | None) -> bool:
    """Return whether the CPU group of a process is not the machine's root group, in which autogroup works.

    A container may see its own group as the root. The machine's root has a ``release_agent`` in version 1, and lacks a
    ``cpu.weight`` in version 2, unlike all other groups (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).
    """
    if cgroup is None:
        return False
    if cgroup.version == 1:
        return cgroup.name != "/" or not os.path.exists(f"{cgroup.mount}/release_agent")
    return any(os.path.exists(f"{directory}/cpu.weight") for directory in cgroup.upwards())


def find_cgroup(controller: str, proc: str = _PROC) -> Cgroup | None:
    """Return the group of a process for a controller like "cpu", or None if it has none.

    `proc` is the process's directory in ``/proc``.
    """
    unified = None
    for line in _lines(f"{proc}/cgroup"):
        _, controllers, name = line.split(":", 2)
        if not controllers:
            unified = name
        elif controller in controllers.split(","):
            return _locate(1, name, controller, proc)
    return None if unified is None else _locate(2, unified, controller, proc)


def cpu_quota(proc: str = _PROC) -> float | None:
    """Return how many CPUs the groups of a process let it use; None: no limit."""
    cgroup = find_cgroup("cpu", proc)
    quotas = [] if cgroup is None else [_quota(cgroup.version, each) for each in cgroup.upwards()]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(proc: str = _PROC) -> int | None:
    """Return how many bytes of memory the groups of a process let it use; None: no limit."""
    cgroup = find_cgroup("memory", proc)
    if cgroup is None:
        return None
    name = "memory.max" if cgroup.version == 2 else "memory.limit_in_bytes"  # noqa: PLR2004
    words = [_words(f"{directory}/{name}") for directory in cgroup.upwards()]
    limits = [int(word[0]) for word in words if word and word[0] != "max"]
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def write_text(path: str, text: str) -> None:
    """Write to a file of the kernel."""
    with open_file(path, "w", encoding="ascii") as file:
        file.write(text)


def _quota(version: int, directory: str) -> float | None:
    """Return the quota of one group; its file says "max", or -1 in version 1, if there is no limit."""
    if version == 1:
        words = _words(f"{directory}/cpu.cfs_quota_us") + _words(f"{directory}/cpu.cfs_period_us")
    else:
        words = _words(f"{directory}/cpu.max")
    match words:
        case [quota, period] if quota not in ("max", "-1"):
            return int(quota) / int(period)
    return None


def _locate(version: int, name: str, controller: str, proc: str) -> Cgroup | None:
    for line in _lines(f"{proc}/mountinfo"):
        fields, _, source = line.partition(" - ")
        root, mount = (_ESCAPED.sub(_unescape, field) for field in fields.split(" ")[3:5])
        kind, _, options = source.split(" ", 2)
        if kind != ("cgroup2" if version == 2 else "cgroup"):  # noqa: PLR2004
            continue
        if version == 1 and controller not in options.split(","):
            continue
        below = os.path.relpath(name, root)
        directory = mount if below.split("/", 1)[0] in (".", "..") else f"{mount}/{below}"
        return Cgroup(version, name, mount, directory)
    return None


def _unescape(escaped: re.Match[str]) -> str:
    return chr(int(escaped[1], 8))


def _lines(path: str) -> list[str]:
    """Return the lines of a file of the kernel; a name in it may contain other line separators than a newline."""
    with (
        contextlib.suppress(OSError),
        open_file(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        return [line for line in file.read().split("\n") if line]
    return []


def _words(path: str) -> list[str]:
    return " ".join(_lines(path)).split()
