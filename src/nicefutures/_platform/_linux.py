"""Linux: every thread of a process, one by one.

Some facts:

* Nice and the scheduling policy belong to a thread, not to a process (sched(7); getpriority(2), BUGS). Setting them
  for a process id reaches its main thread and the threads that it makes later, and no thread that exists already,
  such as the pool that OpenBLAS makes when NumPy is imported. So the threads are walked, in ``/proc/<pid>/task``.
  All calls here take a thread id where their manual speaks of a process id; 0 is the calling thread.
* A new thread inherits policy, nice and I/O priority from the one that made it. A thread that appears during the walk
  was either made by one that had been set already, and needs nothing, or shows up in the next round.
* SCHED_IDLE (weight 3 against 1024 for nice 0) is preempted by a normal thread as soon as that wakes; a thread at
  nice 19 (weight 15) may finish its slice first. SCHED_IDLE ignores nice (sched(7)).
* Without CAP_SYS_NICE, nice goes up only, and SCHED_IDLE is not left, unless RLIMIT_NICE allows it
  (setrlimit(2), sched(7)): ``setpriority`` then fails with EACCES, ``sched_setscheduler`` with EPERM.
  ``setpriority`` with EPERM means somebody else's process (setpriority(2)).
* SCHED_RESET_ON_FORK cannot be cleared without CAP_SYS_NICE (sched_setscheduler(2)), so it is kept as it is.
* musl's ``sched_setscheduler`` and ``sched_getscheduler`` always fail with ENOSYS, for POSIX means them for processes.
* I/O priority ``IOPRIO_CLASS_NONE`` follows the CPU's policy and nice (ioprio_set(2)). The C library has no
  function for ``ioprio_set``; the system call's number depends on the architecture.
* Policy and nice rank a thread within its own task group only (autogroup, CPU cgroup: sched(7)).
* The second number of ``/proc/<pid>/task/<tid>/schedstat`` is the time that the thread was ready to run and had no CPU,
  in ns (Documentation/scheduler/sched-stats.rst).
"""

import contextlib
import enum
import errno
import functools
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, Protocol

from .._priority import (
    NotPermittedError,
    PriorityError,
    ProcessPriority,
    Shortfall,
    ThreadPriority,
)
from ._common import ProcessDescription, name_process, nearest, no_such_process
from ._common import wait_for_lock as pause
from ._posix import become

__all__ = [
    "become",
    "cpu_delay",
    "describe",
    "get_process",
    "get_thread",
    "is_ready",
    "pause",
    "release_thread",
    "restore_process",
    "restore_thread",
    "save_process",
    "save_thread",
    "set_process",
    "set_thread",
    "thread_cpu_time",
]


class Policy(enum.IntEnum):
    """Scheduling policies (``linux/sched.h``)."""

    SCHED_OTHER = 0
    SCHED_FIFO = 1
    SCHED_RR = 2
    SCHED_BATCH = 3
    SCHED_IDLE = 5
    SCHED_DEADLINE = 6
    SCHED_EXT = 7


class IoClass(enum.IntEnum):
    """I/O scheduling classes (``linux/ioprio.h``)."""

    NONE = 0
    REALTIME = 1
    BEST_EFFORT = 2
    IDLE = 3


RESET_ON_FORK: Final = 0x40000000  # SCHED_RESET_ON_FORK, linux/sched.h
IOPRIO_CLASS_SHIFT: Final = 13  # linux/ioprio.h
LOWEST_RT_PRIORITY: Final = 1  # sched_get_priority_min(SCHED_RR), sched(7)
LOWEST_NICE: Final = 19

_REALTIME_POLICIES: Final = (Policy.SCHED_FIFO, Policy.SCHED_RR, Policy.SCHED_DEADLINE)


class Scheduling(NamedTuple):
    """What the kernel schedules one thread by. `policy` has the reset-on-fork flag in it."""

    policy: int
    rt_priority: int
    nice: int
    ioprio: int

    @property
    def bare_policy(self) -> int:
        """Policy without the reset-on-fork flag."""
        return self.policy & ~RESET_ON_FORK

    @property
    def io_class(self) -> int:
        """I/O scheduling class."""
        return self.ioprio >> IOPRIO_CLASS_SHIFT

    def __str__(self) -> str:
        policy = _name(Policy, self.bare_policy)
        if self.bare_policy in _REALTIME_POLICIES:
            return f"{policy} {self.rt_priority}"
        return f"{policy}, nice {self.nice}"


class Target(NamedTuple):
    """What a level asks of one thread. A `nice` of None is left alone, and so is the I/O class if `io_idle` is None."""

    policy: Policy
    nice: int | None = None
    io_idle: bool | None = None

    def matches(self, now: Scheduling) -> bool:
        """Whether a thread that is scheduled by `now` is there."""
        return self.matches_cpu(now) and self.io_idle in (None, now.io_class == IoClass.IDLE)

    def matches_cpu(self, now: Scheduling) -> bool:
        """Whether it is there, I/O aside."""
        return now.bare_policy == self.policy and self.nice in (None, now.nice)


_PROCESS: Final = {
    ProcessPriority.IDLE: Target(Policy.SCHED_IDLE, io_idle=True),
    ProcessPriority.BELOW_NORMAL: Target(Policy.SCHED_BATCH, 10, io_idle=False),
    ProcessPriority.NORMAL: Target(Policy.SCHED_OTHER, 0, io_idle=False),
    ProcessPriority.ABOVE_NORMAL: Target(Policy.SCHED_OTHER, -5, io_idle=False),
    ProcessPriority.HIGH: Target(Policy.SCHED_OTHER, -10, io_idle=False),
    ProcessPriority.REALTIME: Target(Policy.SCHED_RR, io_idle=False),
}
_THREAD: Final = {
    ThreadPriority.IDLE: Target(Policy.SCHED_IDLE),
    ThreadPriority.LOWEST: Target(Policy.SCHED_OTHER, 19),
    ThreadPriority.BELOW_NORMAL: Target(Policy.SCHED_OTHER, 5),
    ThreadPriority.NORMAL: Target(Policy.SCHED_OTHER, 0),
    ThreadPriority.ABOVE_NORMAL: Target(Policy.SCHED_OTHER, -5),
    ThreadPriority.HIGHEST: Target(Policy.SCHED_OTHER, -10),
    ThreadPriority.TIME_CRITICAL: Target(Policy.SCHED_RR),
}


class Kernel(Protocol):
    """The seam to the operating system. A thread that is gone is a ProcessLookupError."""

    def process_id(self) -> int: ...
    def threads(self, pid: int) -> list[int]: ...
    def exists(self, pid: int) -> bool: ...
    def is_ours(self, pid: int) -> bool: ...
    def nice_limit(self) -> int: ...
    def read(self, tid: int) -> Scheduling: ...
    def set_policy(self, tid: int, policy: int, rt_priority: int) -> None: ...
    def set_nice(self, tid: int, nice: int) -> None: ...
    def set_ioprio(self, tid: int, ioprio: int) -> None: ...
    def cpu_time(self, tid: int) -> int: ...
    def run_state(self, tid: int) -> str: ...
    def open_schedstat(self) -> int: ...
    def read_schedstat(self, file: int) -> bytes: ...


if not TYPE_CHECKING or sys.platform == "linux":

    class _Syscalls:
        """The kernel that this process runs on."""

        def process_id(self) -> int:
            return os.getpid()

        def threads(self, pid: int) -> list[int]:
            return [int(tid) for tid in os.listdir(f"/proc/{pid}/task")]

        def exists(self, pid: int) -> bool:
            try:
                os.kill(pid, 0)
            except (ProcessLookupError, OverflowError):
                return False
            except PermissionError:
                return True
            return True

        def is_ours(self, pid: int) -> bool:
            try:
                owner = os.stat(f"/proc/{pid}").st_uid
            except FileNotFoundError:
                return True
            return os.geteuid() in (0, owner)

        def nice_limit(self) -> int:
            import resource  # only to explain a failure

            soft, _ = resource.getrlimit(resource.RLIMIT_NICE)
            return -20 if soft == resource.RLIM_INFINITY else max(20 - soft, -20)

        def read(self, tid: int) -> Scheduling:
            return Scheduling(*self._policy(tid), os.getpriority(os.PRIO_PROCESS, tid), self._ioprio(tid))

        def set_policy(self, tid: int, policy: int, rt_priority: int) -> None:
            os.sched_setscheduler(tid, policy, os.sched_param(rt_priority))

        def set_nice(self, tid: int, nice: int) -> None:
            os.setpriority(os.PRIO_PROCESS, tid, nice)

        def set_ioprio(self, tid: int, ioprio: int) -> None:
            _ioprio_call("set", tid, ioprio)

        def cpu_time(self, tid: int) -> int:
            # As pthread_getcpuclockid makes it, which needs a handle that may dangle: MAKE_THREAD_CPUCLOCK(tid,
            # CPUCLOCK_SCHED), linux/posix-timers_types.h.
            return time.clock_gettime_ns(~tid << 3 | 6)

        def run_state(self, tid: int) -> str:
            with open(f"/proc/self/task/{tid}/stat", encoding="ascii", errors="replace") as stat:
                return stat.read().rpartition(")")[2].split(maxsplit=1)[0]

        def open_schedstat(self) -> int:
            return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

        def read_schedstat(self, file: int) -> bytes:
            return os.pread(file, 100, 0)

        def _policy(self, tid: int) -> tuple[int, int]:
            try:
                return os.sched_getscheduler(tid), os.sched_getparam(tid).sched_priority
            except OSError as error:
                if error.errno != errno.ENOSYS:
                    raise
                return Policy.SCHED_OTHER, 0  # musl has these functions for show

        def _ioprio(self, tid: int) -> int:
            try:
                return _ioprio_call("get", tid)
            except ProcessLookupError:
                raise
            except OSError:  # not in this kernel, or forbidden: then nobody has set one
                return IoClass.NONE

    kernel: Kernel = _Syscalls()
else:
    kernel: Kernel


# ioprio_set, ioprio_get: the architectures' syscall tables; the newer ones share asm-generic/unistd.h.
_IOPRIO_CALLS: Final = {
    "x86_64": (251, 252),
    "i386": (289, 290),
    "i686": (289, 290),
    "aarch64": (30, 31),
    "riscv64": (30, 31),
    "loongarch64": (30, 31),
    "armv7l": (314, 315),
    "ppc64le": (273, 274),
    "s390x": (282, 283),
}
_IOPRIO_WHO_PROCESS: Final = 1  # linux/ioprio.h


@functools.cache
def _syscall() -> tuple[Callable[..., int], int, int]:
    """Return the C library's ``syscall`` and this architecture's numbers of ``ioprio_set`` and ``ioprio_get``."""
    try:
        import ctypes  # costs milliseconds, and importing the library need not pay them
    except ImportError as error:  # a Python that was built without libffi
        raise OSError(errno.ENOSYS, "this Python has no ctypes") from error
    import platform

    machine = platform.machine()
    if machine == "x86_64" and sys.maxsize < 2**32:
        machine = "i686"
    if machine not in _IOPRIO_CALLS:
        raise OSError(errno.ENOSYS, f"no I/O priority known for {machine}")
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_int)
    call.restype = ctypes.c_long

    def checked(*arguments: int) -> int:
        result: int = call(*arguments)
        if result == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    return checked, *_IOPRIO_CALLS[machine]


def _ioprio_call(what: str, tid: int, value: int = 0) -> int:
    call, setter, getter = _syscall()
    return call(setter if what == "set" else getter, _IOPRIO_WHO_PROCESS, tid, value)


# --- processes


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    target = _PROCESS[priority]
    with _lookup(pid, f"priority {priority.name} of {name_process(pid)}") as leader:
        behind, refusals = _set_all(leader, target)
        tids, all_threads = _threads(leader)
    requested = f"priority {priority.name} of process {leader} ({_describe_target(target)})"
    if behind:
        in_force = _process_level(behind[0])
        if len(behind) < len(tids):
            in_force += f" for {len(behind)} of {len(tids)} threads"
        return _shortfall(requested, target, behind, refusals, in_force, leader)
    return None if all_threads else _unlisted(requested, kernel.read(leader))


def get_process(pid: int | None = None) -> ProcessPriority:
    with _lookup(pid, f"the priority of {name_process(pid)}") as leader:
        return _nearest_process(kernel.read(leader))


def save_process() -> dict[int, Scheduling]:
    tids, _ = _threads(kernel.process_id())
    return _read(tids)


def restore_process(saved: dict[int, Scheduling]) -> Shortfall | None:
    pid = kernel.process_id()
    main = saved[pid]
    # A thread that was not there before goes where the main thread goes.
    tids, _ = _threads(pid)
    return _restore_each({tid: saved.get(tid, main) for tid in tids}, f"the priority of process {pid} from before")


def describe(pid: int | None = None) -> ProcessDescription:
    with _lookup(pid, f"the priority of {name_process(pid)}") as leader:
        main = kernel.read(leader)
        threads = Counter(map(_nearest_thread, _read(_threads(leader)[0]).values()))
    return ProcessDescription(
        level=_nearest_process(main),
        threads=dict(sorted(threads.items())),
        policy=_name(Policy, main.bare_policy),
        nice=main.nice,
        io_class=_name(IoClass, main.io_class).lower().replace("_", "-"),
    )


# --- the calling thread

_SELF: Final = 0


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    target = _THREAD[priority]
    refusals = _set_each([_SELF], target)
    now = kernel.read(_SELF)
    if target.matches(now):
        return None
    requested = f"thread priority {priority.name} ({_describe_target(target)})"
    return _shortfall(requested, target, [now], refusals, _thread_level(now), None)


def get_thread() -> ThreadPriority:
    return _nearest_thread(kernel.read(_SELF))


def save_thread() -> Scheduling:
    return kernel.read(_SELF)


def restore_thread(saved: Scheduling) -> Shortfall | None:
    return _restore_each({_SELF: saved}, "the thread priority from before")


def release_thread() -> None:
    """Nothing to do: a thread's level ends with it."""


# --- setting


class _Refusals(dict[str, OSError]):
    """The first error of each call that the kernel refused, by what was to be set."""

    @contextlib.contextmanager
    def collect(self, what: str) -> Iterator[None]:
        try:
            yield
        except ProcessLookupError:
            raise
        except OSError as error:
            self.setdefault(what, error)


def _set_all(pid: int, target: Target) -> tuple[list[Scheduling], _Refusals]:
    """Set every thread of the process, and those that come up meanwhile, until a round finds no other that lacks it.

    Returns
    -------
    list of Scheduling
        Of the threads that did not get there.
    _Refusals
        Why.
    """
    refusals = _Refusals()
    tried: set[int] = set()
    while True:
        behind = {tid: now for tid, now in _read(_threads(pid)[0]).items() if not target.matches(now)}
        fresh = behind.keys() - tried
        if not fresh:
            return list(behind.values()), refusals
        # The main thread last: in a worker it is the one that walks, and a lowered walk takes longer on a busy machine.
        refusals |= _set_each(sorted(fresh, reverse=True), target)
        tried |= fresh


def _set_each(tids: Iterable[int], target: Target) -> _Refusals:
    refusals = _Refusals()
    for tid in tids:
        with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
            _set_one(tid, target, refusals)
    return refusals


def _set_one(tid: int, target: Target, refusals: _Refusals) -> None:
    now = kernel.read(tid)
    # Nice first: it decides whether an unprivileged thread may leave SCHED_IDLE.
    if target.nice not in (None, now.nice):
        with refusals.collect("nice"):
            kernel.set_nice(tid, target.nice)
    if now.bare_policy != target.policy:
        rt_priority = LOWEST_RT_PRIORITY if target.policy == Policy.SCHED_RR else 0
        with refusals.collect("policy"):
            kernel.set_policy(tid, target.policy | (now.policy & RESET_ON_FORK), rt_priority)
        if "policy" in refusals and target.policy == Policy.SCHED_IDLE:
            with refusals.collect("nice"):
                kernel.set_nice(tid, LOWEST_NICE)
    if target.io_idle not in (None, now.io_class == IoClass.IDLE):
        io_class = IoClass.IDLE if target.io_idle else IoClass.NONE
        with refusals.collect("I/O class"):
            kernel.set_ioprio(tid, io_class << IOPRIO_CLASS_SHIFT)


def _restore_each(wanted: dict[int, Scheduling], requested: str) -> Shortfall | None:
    refusals = _Refusals()
    left: Shortfall | None = None
    for tid, before in wanted.items():
        with contextlib.suppress(ProcessLookupError):
            now = kernel.read(tid)
            if now.nice != before.nice:
                with refusals.collect("nice"):
                    kernel.set_nice(tid, before.nice)
            if (now.policy, now.rt_priority) != (before.policy, before.rt_priority):
                with refusals.collect("policy"):
                    kernel.set_policy(tid, before.policy, before.rt_priority)
            if now.ioprio != before.ioprio:
                with refusals.collect("I/O class"):
                    kernel.set_ioprio(tid, before.ioprio)
            now = kernel.read(tid)
            if now != before and left is None:
                reason, remedy = _explain(refusals, before.bare_policy, [now])
                left = Shortfall(f"{requested} ({before})", _thread_level(now), reason, remedy)
    return left


# --- reading


def _threads(pid: int) -> tuple[list[int], bool]:
    """Return the process's thread ids, and whether they are all of them."""
    try:
        return kernel.threads(pid), True
    except FileNotFoundError:
        if not kernel.exists(pid):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
        return [pid], False  # /proc is not mounted, or hides the process


def _read(tids: Iterable[int]) -> dict[int, Scheduling]:
    result = {}
    for tid in tids:
        with contextlib.suppress(ProcessLookupError):
            result[tid] = kernel.read(tid)
    return result


# SCHED_IDLE is a step below nice 19.
_PROCESS_NICE: Final = {
    20: ProcessPriority.IDLE,
    10: ProcessPriority.BELOW_NORMAL,
    0: ProcessPriority.NORMAL,
    -5: ProcessPriority.ABOVE_NORMAL,
    -10: ProcessPriority.HIGH,
}
_THREAD_NICE: Final = {
    19: ThreadPriority.LOWEST,
    5: ThreadPriority.BELOW_NORMAL,
    0: ThreadPriority.NORMAL,
    -5: ThreadPriority.ABOVE_NORMAL,
    -10: ThreadPriority.HIGHEST,
}


def _nearest_process(now: Scheduling) -> ProcessPriority:
    if now.bare_policy in _REALTIME_POLICIES:
        return ProcessPriority.REALTIME
    if now.bare_policy == Policy.SCHED_IDLE:
        return ProcessPriority.IDLE
    return nearest(_PROCESS_NICE, now.nice)


def _nearest_thread(now: Scheduling) -> ThreadPriority:
    if now.bare_policy in _REALTIME_POLICIES:
        return ThreadPriority.TIME_CRITICAL
    if now.bare_policy == Policy.SCHED_IDLE:
        return ThreadPriority.IDLE
    return nearest(_THREAD_NICE, now.nice)


# --- what threads do


@contextlib.contextmanager
def cpu_delay() -> Iterator[Callable[[], int]]:
    try:
        schedstat = kernel.open_schedstat()
    except OSError:  # a kernel without CONFIG_SCHED_INFO, or no /proc
        yield lambda: 0
        return
    try:
        yield lambda: int(kernel.read_schedstat(schedstat).split()[1])
    finally:
        os.close(schedstat)


def thread_cpu_time(tid: int) -> int | None:
    try:
        return kernel.cpu_time(tid)
    except OSError:
        return None


def is_ready(tid: int) -> bool:
    try:
        return kernel.run_state(tid) == "R"
    except OSError:
        return False


# --- saying what went wrong


@contextlib.contextmanager
def _lookup(pid: int | None, requested: str) -> Iterator[int]:
    """Yield the process id; a process that does not exist becomes a PriorityError."""
    try:
        yield kernel.process_id() if pid is None else pid
    except (ProcessLookupError, OverflowError) as error:
        if isinstance(error, PriorityError):
            raise
        raise no_such_process(requested, pid) from error
    except PermissionError as error:
        if isinstance(error, PriorityError):
            raise
        reason = f"{name_process(pid)} may not be looked at ({error.strerror})"
        remedy = "Run this as the user that it belongs to or as root, or outside the sandbox."
        raise NotPermittedError(Shortfall(requested, "unknown", reason, remedy)) from error


def _shortfall(
    requested: str, target: Target, behind: list[Scheduling], refusals: _Refusals, in_force: str, pid: int | None
) -> Shortfall:
    """Return what is missing if the threads are low all the same, otherwise raise it."""
    if pid is not None and not kernel.is_ours(pid):
        _raise_not_ours(requested, in_force, pid)
    reason, remedy = _explain(refusals, target.policy, behind)
    shortfall = Shortfall(requested, in_force, reason, remedy)
    substitute = LOWEST_NICE if target.policy == Policy.SCHED_IDLE else target.nice
    low_instead = target.policy in (Policy.SCHED_IDLE, Policy.SCHED_BATCH) and substitute is not None
    if all(
        target.matches_cpu(now) or (low_instead and now.nice == substitute and now.bare_policy != Policy.SCHED_IDLE)
        for now in behind
    ):
        return shortfall
    raise PriorityError(shortfall)


def _raise_not_ours(requested: str, in_force: str, pid: int) -> NoReturn:
    reason = f"process {pid} belongs to another user"
    raise NotPermittedError(Shortfall(requested, in_force, reason, "Run this as that user or as root."))


def _explain(refusals: _Refusals, policy: int, behind: list[Scheduling]) -> tuple[str, str]:
    """Return the reason and the remedy."""
    if not refusals:
        return "the kernel accepted the call and did nothing", "Ask whoever runs this machine or container."
    what, error = next(iter(refusals.items()))
    detail = f"{what}: {os.strerror(error.errno)}" if error.errno else f"{what}: {error}"
    if policy in _REALTIME_POLICIES:
        reason = f"a real-time policy needs a privilege that this process lacks ({detail})"
        return reason, "Run it as root or with CAP_SYS_NICE, or raise 'rtprio' in /etc/security/limits.conf."
    leaves_idle = policy != Policy.SCHED_IDLE and any(now.bare_policy == Policy.SCHED_IDLE for now in behind)
    if error.errno == errno.EACCES or (what == "policy" and leaves_idle):
        limit = kernel.nice_limit()
        allowed = f"down to nice {limit}" if limit <= LOWEST_NICE else "no raising at all"
        reason = f"an unprivileged process may not raise a priority (RLIMIT_NICE allows {allowed})"
        return reason, "Run it as root or with CAP_SYS_NICE, or raise 'nice' in /etc/security/limits.conf."
    if error.errno == errno.ENOSYS:
        return f"this C library or kernel does not have it ({detail})", "Use a system with glibc."
    if error.errno == errno.EINVAL:
        return f"this kernel does not know it ({detail})", "Use another level or a newer kernel."
    return (
        f"the system forbids it ({detail})",
        "In a container or sandbox, allow sched_setscheduler, setpriority and ioprio_set, or add CAP_SYS_NICE.",
    )


def _unlisted(requested: str, main: Scheduling) -> Shortfall:
    reason = "its threads cannot be listed because /proc is not mounted, so only the main thread was reached"
    return Shortfall(f"{requested} for every thread", _process_level(main), reason, "Mount /proc.")


def _process_level(now: Scheduling) -> str:
    return f"{_nearest_process(now).name} ({now})"


def _thread_level(now: Scheduling) -> str:
    return f"{_nearest_thread(now).name} ({now})"


def _describe_target(target: Target) -> str:
    parts = [target.policy.name]
    if target.nice is not None:
        parts.append(f"nice {target.nice}")
    if target.io_idle:
        parts.append("I/O class idle")
    return ", ".join(parts)


def _name(kind: type[enum.IntEnum], value: int) -> str:
    return kind(value).name if value in kind._value2member_map_ else str(value)
