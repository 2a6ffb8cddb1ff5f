"""Linux control groups: what this process may use of the machine, and where its CPU group is.

A limit holds for a group and all below it, so the strictest on the way up counts. In a container the way up ends where
its own hierarchy does: ``/proc/self/mountinfo`` says which group is mounted where (cgroups(7), proc_pid_mountinfo(5)).
Version 1 has a hierarchy for each controller, version 2 one for all; both may be there, a controller is in one of them.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_PROC: Final = "/proc/self"
# Version 1 has no word for "no limit": memory.limit_in_bytes is the largest number of whole pages below 2**63.
_NO_LIMIT: Final = 2**62
# A space, a tab, a newline, a backslash (seq_path in fs/seq_file.c).
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class Cgroup(NamedTuple):
    """The group that a process is in for one controller.

    Parameters
    ----------
    version : int
        1 or 2.
    name : str
        Its path in the hierarchy, as ``/proc/<pid>/cgroup`` has it.
    mount : str
        Where the hierarchy is mounted.
    directory : str
        Its directory; that of the mount if it is not below that.
    """

    version: int
    name: str
    mount: str
    directory: str

    def upwards(self) -> Iterator[str]:
        """Yield the directories from this group up to the mount."""
        directory = self.directory
        while True:
            yield directory
            if directory == self.mount:
                return
            directory = os.path.dirname(directory)


def ranks_cpu(cgroup: Cgroup | None) -> bool:
    """Return whether the CPU group of a process is another than the machine's root, where autogroup decides.

    A container may see its own group as the root. In version 1 the machine's is the only one with a ``release_agent``,
    in version 2 the only one without a ``cpu.weight`` (cgroups(7), Documentation/admin-guide/cgroup-v2.rst).
    """
    if cgroup is None:
        return False
    if cgroup.version == 1:
        return cgroup.name != "/" or not os.path.exists(f"{cgroup.mount}/release_agent")
    return any(os.path.exists(f"{directory}/cpu.weight") for directory in cgroup.upwards())


def find_cgroup(controller: str, proc: str = _PROC) -> Cgroup | None:
    """Return the group of a process for `controller`, or None where there is none.

    Parameters
    ----------
    controller : str
        Such as "cpu".
    proc : str
        The process's directory in ``/proc``.
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
    """Return how many CPUs' time the groups of a process leave it, or None for all."""
    cgroup = find_cgroup("cpu", proc)
    quotas = [] if cgroup is None else [_quota(cgroup.version, each) for each in cgroup.upwards()]
    return min((quota for quota in quotas if quota is not None), default=None)


def memory_limit(proc: str = _PROC) -> int | None:
    """Return how many bytes the groups of a process leave it, or None for all."""
    cgroup = find_cgroup("memory", proc)
    if cgroup is None:
        return None
    name = "memory.max" if cgroup.version == 2 else "memory.limit_in_bytes"  # noqa: PLR2004
    words = [_words(f"{directory}/{name}") for directory in cgroup.upwards()]
    limits = [int(word[0]) for word in words if word and word[0] != "max"]
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


def write_text(path: str, text: str) -> None:
    """Write to a file of the kernel's."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _quota(version: int, directory: str) -> float | None:
    """Return the quota of one group; without a limit it says "max", or -1 in version 1."""
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
    """Return the lines of a file of the kernel's: a name in it may have what ends a line elsewhere."""
    with (
        contextlib.suppress(OSError),
        open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file,
    ):
        return [line for line in file.read().split("\n") if line]
    return []


def _words(path: str) -> list[str]:
    return " ".join(_lines(path)).split()
