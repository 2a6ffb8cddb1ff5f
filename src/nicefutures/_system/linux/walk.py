"""Sets and reads the scheduling parameters of threads one by one, and explains the kernel's refusals."""

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from typing import Final

from ..._levels import Shortfall
from . import seam
from .scheduling import (
    LOWEST_NICE,
    LOWEST_RT_PRIORITY,
    REALTIME_POLICIES,
    RESET_ON_FORK,
    Policy,
    Scheduling,
    Target,
    describe_thread_level,
)

# --- setting


class Refusals(dict[str, OSError]):
    """The first error of each refused call, by the name of the parameter."""

    @contextlib.contextmanager
    def collect(self, what: str) -> Iterator[None]:
        try:
            yield
        except ProcessLookupError:
            raise
        except OSError as error:
            self.setdefault(what, error)


def set_all(pid: int, target: Target, *, cap: bool) -> tuple[list[Scheduling], Refusals]:
    """Set every thread of the process, also new ones, until a round finds no further thread to set.

    With `cap`, threads that are not above the target are left alone. Return the parameters of the threads that did not
    reach the target, and the reasons.
    """
    refusals = Refusals()
    tried: dict[int, Target] = {}
    while True:
        found = read_all(list_threads(pid)[0])
        fresh = {}
        for tid, now in found.items():
            wanted = target.capped(now) if cap else target
            if tid not in tried and wanted and not (wanted.matches_cpu(now) and wanted.matches_io(now)):
                fresh[tid] = wanted
        if not fresh:
            return [now for tid, now in found.items() if tid in tried and not tried[tid].is_met(now)], refusals
        # The main thread last: in a worker it runs this loop, which takes longer once lowered on a busy machine.
        refusals |= set_each(dict(sorted(fresh.items(), reverse=True)))
        tried |= fresh


def set_each(targets: dict[int, Target]) -> Refusals:
    refusals = Refusals()
    for tid, target in targets.items():
        with contextlib.suppress(ProcessLookupError):  # the thread has ended meanwhile
            _set_one(tid, target, refusals)
    return refusals


def _set_one(tid: int, target: Target, refusals: Refusals) -> None:
    now = seam.system.read(tid)
    if (
        now.bare_policy == Policy.SCHED_IDLE
        and target.is_above(now)
        and not _can_leave_idle(tid, now, target, refusals)
    ):
        return
    # Nice first, because it decides whether an unprivileged thread may leave SCHED_IDLE.
    if target.nice not in (None, now.nice):
        with refusals.collect("nice"):
            seam.system.set_nice(tid, target.nice)
    if now.bare_policy != target.policy:
        rt_priority = LOWEST_RT_PRIORITY if target.policy == Policy.SCHED_RR else 0
        with refusals.collect("policy"):
            seam.system.set_policy(tid, target.policy | (now.policy & RESET_ON_FORK), rt_priority)
        if "policy" in refusals and target.policy == Policy.SCHED_IDLE:
            with refusals.collect("nice"):
                seam.system.set_nice(tid, LOWEST_NICE)
    if target.is_above_io(now) and target.is_above(seam.system.read(tid)):
        return  # both CPU and I/O priority stay lower
    if target.io is not None and not target.matches_io(now):
        with refusals.collect("I/O class"):
            seam.system.set_ioprio(tid, target.io)


def _can_leave_idle(tid: int, now: Scheduling, target: Target, refusals: Refusals) -> bool:
    """Return whether a thread may leave SCHED_IDLE for a low target; if not, it keeps its nice and I/O, too."""
    if target.nice is None or target.nice >= seam.system.nice_limit():
        return True
    with refusals.collect("policy"):
        seam.system.set_policy(tid, target.policy | (now.policy & RESET_ON_FORK), 0)
    return "policy" not in refusals


def restore_each(wanted: dict[int, Scheduling], requested: str) -> Shortfall | None:
    refusals = Refusals()
    left: Shortfall | None = None
    for tid, before in wanted.items():
        with contextlib.suppress(ProcessLookupError):
            now = seam.system.read(tid)
            if now.nice != before.nice:
                with refusals.collect("nice"):
                    seam.system.set_nice(tid, before.nice)
            if (now.policy, now.rt_priority) != (before.policy, before.rt_priority):
                with refusals.collect("policy"):
                    seam.system.set_policy(tid, before.policy, before.rt_priority)
            if now.ioprio != before.ioprio:
                with refusals.collect("I/O class"):
                    seam.system.set_ioprio(tid, before.ioprio)
            now = seam.system.read(tid)
            if now != before and left is None:
                reason, remedy = explain(refusals, before.bare_policy, [now])
                left = Shortfall(f"{requested} ({before})", describe_thread_level(now), reason, remedy, "restore")
    return left


# --- reading


class ZombieError(ProcessLookupError):
    """A process has ended, and only its exit status remains."""


def list_threads(pid: int) -> tuple[list[int], bool]:
    """Return the ids of the process's live threads, the oldest first, and whether these are all of them."""
    try:
        tids = seam.system.threads(pid)
    except FileNotFoundError:
        if not seam.system.exists(pid):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
        return [pid], False  # /proc is not mounted, or hides the process
    if seam.system.has_ended(pid):  # only the main thread stays listed after its end
        tids.remove(pid)
    if not tids:
        raise ZombieError(errno.ESRCH, os.strerror(errno.ESRCH))
    return tids, True


def read_all(tids: Iterable[int]) -> dict[int, Scheduling]:
    result = {}
    for tid in tids:
        with contextlib.suppress(ProcessLookupError):
            result[tid] = seam.system.read(tid)
    return result


# --- explaining errors


# The root user of a container or of a user namespace may lack CAP_SYS_NICE.
_PRIVILEGE: Final = "Run it with CAP_SYS_NICE of the machine, which its root user has,"
_ALLOW: Final = "In a container or sandbox, allow sched_setscheduler, setpriority and ioprio_set."


def explain(refusals: Refusals, policy: int, behind: list[Scheduling]) -> tuple[str, str]:
    """Return the reason and the remedy."""
    if not refusals:
        return "the kernel accepted the call and did nothing", "Ask the administrator of this machine or container."
    what, error = next(iter(refusals.items()))
    detail = f"{what}: {os.strerror(error.errno)}" if error.errno else f"{what}: {error}"
    if policy in REALTIME_POLICIES:
        reason = f"a real-time policy needs a privilege that this process lacks ({detail})"
        return reason, f"{_PRIVILEGE} or raise 'rtprio' in /etc/security/limits.conf."
    leaves_idle = policy != Policy.SCHED_IDLE and any(now.bare_policy == Policy.SCHED_IDLE for now in behind)
    if error.errno == errno.EACCES or (what == "policy" and leaves_idle):
        limit = seam.system.nice_limit()
        allowed = f"down to nice {limit}" if limit <= LOWEST_NICE else "no raising at all"
        reason = f"an unprivileged process may not raise a priority (RLIMIT_NICE allows {allowed})"
        return reason, f"{_PRIVILEGE} or raise 'nice' in /etc/security/limits.conf."
    if error.errno == errno.ENOSYS:
        reason = f"this C library, or the kernel or sandbox that it runs in, does not have it ({detail})"
        return reason, f"Use a system with glibc. {_ALLOW}"
    if error.errno == errno.EINVAL:
        return f"this kernel does not know it ({detail})", "Use another level or a newer kernel."
    return f"the system forbids it ({detail})", f"{_ALLOW[:-1]}, or add CAP_SYS_NICE."
