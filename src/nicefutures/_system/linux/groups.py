"""Linux task groups: move a process to a group in which a low priority also counts against other sessions' programs.

Nice and the policy rank a thread within its own task group; the groups share the CPU by the groups' own weights
(sched(7), "The autogroup feature"). The groups are:

* Control groups that have the CPU controller. ``cpu.idle`` has the effect on a group that SCHED_IDLE has on a
  thread (Linux 5.15, Documentation/admin-guide/cgroup-v2.rst). A group that contains processes has no controllers for
  groups below it ("No Internal Process Constraint"), so the new group is not below this process's group, but as far up
  as this user may write: the further up, the more programs it yields to.
* Below systemd's user manager, a scope, which ends with its last process. It is beside the manager's slices here,
  so that it yields to all programs in them. ``CPUWeight=idle`` is the weight 0 on D-Bus (systemd 252,
  systemd.resource-control(5)). The manager is a group itself, with the same weight as a login session beside it: a
  scope would be worse than no group for a program that was started from a login session, for example by ssh.
* Otherwise, with autogroup, every session. Its nice value is in ``/proc/<pid>/autogroup``; without a privilege, it can
  be set ten times a second by all processes of the machine together, else EAGAIN (kernel/sched/autogroup.c).
"""

import contextlib
import errno
import itertools
import os
import random
import subprocess
import sys
import time
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final

from ..._levels import Shortfall
from ..._originals import now, now_ns
from ..common import AUTOGROUP, CGROUP, SCOPE, Group
from .cgroups import Cgroup, find_cgroup, ranks_cpu, write_text
from .keeper import KEEPER_PROGRAM, Keeper, pid_message

_AUTOGROUP_ENABLED: Final = "/proc/sys/kernel/sched_autogroup_enabled"
_OWN_AUTOGROUP: Final = "/proc/self/autogroup"
_ROOT_SLICE: Final = "-.slice"
_REQUESTED: Final = "isolate=True"
_WITH_PARENT: Final = "the group of its parent"
# Seconds until a worker gives up; systemd takes 20 ms, and the kernel lets one autogroup be set in 100 ms.
_PATIENCE: Final = 10.0

_count: Final = itertools.count()
# The beginning of all names of groups.
_NAME: Final = "nicefutures-"


def find() -> Group | Shortfall:
    obstacle = _find_obstacle()
    if obstacle:
        remedy = "Leave isolate out, or start the whole program in its own group (systemd-run --user --scope)."
        return Shortfall(_REQUESTED, _WITH_PARENT, obstacle, remedy)
    cgroup = find_cgroup("cpu")
    if _is_below_user_manager(cgroup):
        return Group(SCOPE)
    if cgroup is not None and cgroup.version == 2:  # noqa: PLR2004
        places = [directory for directory in cgroup.upwards() if _may_make_group(directory)]
        if places:
            return Group(CGROUP, f"{places[-1]}/{_NAME}{os.getpid()}-{next(_count)}", cgroup.directory)
    in_root = not ranks_cpu(cgroup)
    # A sandbox may hide /proc/sys. In a kernel without autogroup, the other file is missing or empty. It has text also
    # if autogroup is off; then the group has no effect, but is not needed: a low priority counts in all sessions.
    has_autogroup = _read(_AUTOGROUP_ENABLED).strip() or ("1" if _read(_OWN_AUTOGROUP) else "0")
    if in_root and has_autogroup == "1":
        return Group(AUTOGROUP)
    reason = "this process does not run below a systemd user manager, it may not divide a control group, and "
    reason += "autogroup has no effect in its control group" if not in_root else "autogroup is off"
    remedy = "Start it as desktops do, with systemd-run --user --scope, or in a delegated control group."
    return Shortfall(_REQUESTED, _WITH_PARENT, reason, remedy)


def _find_obstacle() -> str:
    """Return why a keeper, which is a separate Python program, cannot run; empty if it can."""
    if getattr(sys, "frozen", False) or not sys.executable or not os.path.exists(KEEPER_PROGRAM):
        return "this program was packaged without the Python interpreter that manages the workers"
    try:
        if not TYPE_CHECKING or sys.platform == "linux":
            os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        return f"this system does not tell when a process ends (pidfd_open: {error})"
    return ""


def join(group: Group, registry: Any) -> Shortfall | None:
    try:
        os.write(registry.fileno(), pid_message(os.getpid()))
        if group.kind == SCOPE:
            _join_scope()
        elif group.kind == CGROUP:
            write_text(f"{group.directory}/cgroup.procs", str(os.getpid()))
        else:
            _join_autogroup()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        in_force = _read("/proc/self/cgroup").strip().rpartition("\n")[2] + " " + _read(_OWN_AUTOGROUP).strip()
        return Shortfall(_REQUESTED, in_force.strip(), f"{group.kind}: {error}", "Leave isolate out.")
    return None


def enter() -> Shortfall | None:
    found = find()
    if isinstance(found, Shortfall):
        return found
    if found.kind == SCOPE:  # systemd removes the scope
        try:
            _join_scope()
        except (OSError, subprocess.SubprocessError) as error:
            return Shortfall(_REQUESTED, _WITH_PARENT, f"{SCOPE}: {error}", "Leave isolate out.")
        return None
    reason = "there is no systemd user manager above this process, and "
    if found.kind == AUTOGROUP:
        reason += "in a session of its own, the program would lose its terminal"
    else:
        reason += "a control group would remain after the program"
    return Shortfall(_REQUESTED, _WITH_PARENT, reason, "Start it as desktops do, below a user manager.")


def members(pid: int) -> list[int]:
    cgroup = find_cgroup("cpu", f"/proc/{pid}")
    if cgroup is None or cgroup.version == 1 or not os.path.basename(cgroup.directory).startswith(_NAME):
        return []
    return [int(each) for each in _read(f"{cgroup.directory}/cgroup.procs").split()]


def open_keeper(context: BaseContext, group: Group) -> Keeper:
    return Keeper(context, group)


def _join_scope() -> None:
    """Let the user manager put this process into an idle scope beside all slices."""
    pid = str(os.getpid())
    name = f"{_NAME}{pid}-{now_ns():x}.scope"
    properties = ["PIDs", "au", "1", pid, "CPUWeight", "t", "0", "Slice", "s", _ROOT_SLICE]
    properties += ["CollectMode", "s", "inactive-or-failed"]
    manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"]
    call = ["StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail", "4", *properties, "0"]
    result = subprocess.run(
        ["busctl", "--user", "--quiet", "--", "call", *manager, *call],  # noqa: S607
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
        check=False,
    )
    if result.returncode:
        raise OSError(errno.EIO, f"the user manager refused it: {result.stderr.strip()}")
    deadline = now() + _PATIENCE
    while not (cgroup := find_cgroup("cpu")) or not cgroup.name.endswith(name):
        if now() > deadline:
            raise OSError(errno.ETIMEDOUT, "the user manager did not move this process")
        time.sleep(0.002)
    if _read(f"{cgroup.directory}/cpu.idle").strip() != "1":
        raise OSError(errno.ENOTSUP, "the user manager has no CPU controller")


def _join_autogroup() -> None:
    """Make this process a session leader, and give its session's autogroup the lowest weight."""
    if not TYPE_CHECKING or sys.platform != "win32":
        with contextlib.suppress(PermissionError):  # it leads a process group already
            os.setsid()
        if os.getsid(0) != os.getpid():  # the session is the parent's
            raise OSError(errno.EPERM, "a process that leads a process group cannot leave its session")
    deadline = now() + _PATIENCE
    while True:
        try:
            write_text(_OWN_AUTOGROUP, "19")
            break
        except OSError as error:
            if error.errno != errno.EAGAIN or now() > deadline:
                raise
        time.sleep(random.uniform(0.05, 0.15))  # noqa: S311, other processes retry as well
    if not _read(_OWN_AUTOGROUP).strip().endswith("nice 19"):
        raise OSError(errno.ENOTSUP, "the kernel accepted the call and did nothing")


def _is_below_user_manager(cgroup: Cgroup | None) -> bool:
    """Return whether this process is below a user manager that has the CPU controller and can be called."""
    if cgroup is None or cgroup.version == 1:
        return False
    above = list(cgroup.upwards())[1:]
    names = [os.path.basename(directory) for directory in above]
    managers = [above[i] for i, name in enumerate(names) if name.startswith("user@") and name.endswith(".service")]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    sockets = [f"{runtime}/bus", f"{runtime}/systemd/private"]
    return all(map(os.path.exists, sockets)) and any(
        "cpu" in _read(f"{manager}/cgroup.controllers").split() for manager in managers
    )


def _may_make_group(directory: str) -> bool:
    controllers = _read(f"{directory}/cgroup.subtree_control").split()
    threaded = _read(f"{directory}/cgroup.type").strip() not in ("", "domain")  # the root has no type
    return (
        "cpu" in controllers
        and not threaded
        and os.access(directory, os.W_OK | os.X_OK)
        and os.access(f"{directory}/cgroup.procs", os.W_OK)
    )


def _read(path: str) -> str:
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
    return ""
