"""The ways in which a program on this Linux machine can lower its priority.

Some facts:

* While autogroup is on, each session is a task group if its threads are in the root CPU group (sched(7), "The autogroup
  feature").
* Without a privilege, a process cannot leave SCHED_IDLE or nice 19, so a separate process tries them.
"""

import contextlib
import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

from . import seam
from .cgroups import find_cgroup, ranks_cpu
from .scheduling import LOWEST_NICE, Io, Policy

CAP_SYS_NICE: Final = 23  # linux/capability.h
_SELF: Final = 0
_NOT_A_DISK: Final = ("loop", "ram", "zram")

_T = TypeVar("_T")


def sessions_are_groups() -> bool:
    return True


def describe_machine() -> dict[str, Any]:
    import platform  # here, because it takes milliseconds, and workers do not need it

    status = _known(_status) or {}
    return {
        "kernel": platform.release(),
        "user_id": _known(lambda: int(status["Uid"][1])),
        "cap_sys_nice": _known(lambda: bool(int(status["CapEff"][0], 16) >> CAP_SYS_NICE & 1)),
        "rlimit_nice_down_to": _known(_lowest_allowed),
        "may_set": _known(_probe),
        "autogroup": _known(lambda: seam.system.read_text("/proc/sys/kernel/sched_autogroup_enabled").strip() == "1"),
        "autogroup_nice": _known(lambda: int(seam.system.read_text("/proc/self/autogroup").split()[-1])),
        "cpu_cgroup": _known(_cpu_cgroup),
        "io_schedulers": _known(_io_schedulers),
        "systemd_user_manager": _has_user_manager(),
    }


def _known(ask: Callable[[], _T]) -> _T | None:
    """Return the answer, or None if the system has none."""
    try:
        return ask()
    except (OSError, ValueError, LookupError):
        return None


def _lowest_allowed() -> int | str:
    limit = seam.system.nice_limit()
    return limit if limit <= LOWEST_NICE else "none"  # no raising is allowed


def _status() -> dict[str, list[str]]:
    lines = (line.partition(":") for line in seam.system.read_text("/proc/self/status").split("\n"))
    return {key: value.split() for key, _, value in lines}


def _probe() -> dict[str, bool] | None:
    import json
    import subprocess
    import sys

    code = f"from {__name__} import try_all; try_all()"
    try:
        asked = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, check=True)
    except subprocess.SubprocessError:
        return None
    found: dict[str, bool] = json.loads(asked.stdout)
    return found


def try_all() -> None:
    """Lower this process in every way, those that cannot be undone last, and print which ways worked."""
    import json

    system = seam.system
    tries: dict[str, tuple[Callable[[], None], str, int]] = {
        "SCHED_BATCH": (lambda: system.set_policy(_SELF, Policy.SCHED_BATCH, 0), "bare_policy", Policy.SCHED_BATCH),
        "I/O class idle": (lambda: system.set_ioprio(_SELF, Io.IDLE), "ioprio", Io.IDLE),
        "nice 19": (lambda: system.set_nice(_SELF, LOWEST_NICE), "nice", LOWEST_NICE),
        "SCHED_IDLE": (lambda: system.set_policy(_SELF, Policy.SCHED_IDLE, 0), "bare_policy", Policy.SCHED_IDLE),
    }
    worked = {}
    for name, (lower, what, wanted) in tries.items():
        with contextlib.suppress(OSError):
            lower()
        worked[name] = getattr(seam.system.read(_SELF), what) == wanted
    print(json.dumps(worked))


def _cpu_cgroup() -> dict[str, Any] | None:
    cgroup = find_cgroup("cpu")
    if cgroup is None:
        return None
    return {"version": cgroup.version, "path": cgroup.name, "nested": ranks_cpu(cgroup)}


def _io_schedulers() -> dict[str, str]:
    found = {}
    for device in sorted(os.listdir("/sys/block")):
        with contextlib.suppress(OSError):
            if not device.startswith(_NOT_A_DISK):
                text = seam.system.read_text(f"/sys/block/{device}/queue/scheduler").strip()
                found[device] = text.partition("[")[2].partition("]")[0] or text
    return found


def _has_user_manager() -> bool:
    directory = os.environ.get("XDG_RUNTIME_DIR")
    return directory is not None and any(os.path.exists(f"{directory}/{name}") for name in ("systemd/private", "bus"))
