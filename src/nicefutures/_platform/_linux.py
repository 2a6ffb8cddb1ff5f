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
* I/O priority ``IOPRIO_CLASS_NONE`` follows the CPU's policy and nice: best effort, level (nice + 20) / 5
  (ioprio_set(2)). The C library has no function for ``ioprio_set``; the system call's number depends on the
  architecture.
* ``oom_score_adj`` goes up without a privilege, and back to what it was (proc_pid_oom_score_adj(5)).
* RLIMIT_DATA counts what a process may write to and does not share, mappings included, from Linux 4.7 on
  (setrlimit(2)); ``data`` in ``/proc/self/statm`` is that and the stack. Only the soft limit is changed here, so that
  it can be put back.
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
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from .._priority import (
    NotPermittedError,
    PriorityError,
    ProcessPriority,
    Shortfall,
    ThreadPriority,
)
from ._cgroups import cpu_quota, memory_limit
from ._common import Group, ProcessDescription, count_cpus, name_process, nearest, no_such_process
from ._common import wait_for_lock as pause
from ._posix import ResourceLimit, become

__all__ = [
    "become",
    "count_oom_kills",
    "count_ready",
    "cpu_delay",
    "describe",
    "find_group",
    "get_process",
    "get_thread",
    "get_threads",
    "is_ready",
    "join_group",
    "library_threads",
    "loaded_libraries",
    "memory_in_use",
    "memory_unused",
    "open_keeper",
    "open_memory_limit",
    "pause",
    "release_thread",
    "restore_process",
    "restore_thread",
    "restore_threads",
    "save_process",
    "save_thread",
    "save_threads",
    "set_background",
    "set_efficiency",
    "set_process",
    "set_thread",
    "set_threads",
    "shared_memory",
    "thread_cpu_time",
    "thread_waits",
    "total_memory",
    "usable_cpus",
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
_LONGEST_NAME: Final = 15  # of a thread, TASK_COMM_LEN - 1

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


IO_LEVEL_MASK: Final = 7  # IOPRIO_LEVEL_MASK, linux/ioprio.h
# What a process at nice 10 has anyway: (10 + 20) / 5.
LOW_IO_LEVEL: Final = 6


class Io(enum.IntEnum):
    """What a level asks of a thread's I/O, as the I/O priority that is set for it."""

    IDLE = IoClass.IDLE << IOPRIO_CLASS_SHIFT
    BELOW_NORMAL = IoClass.BEST_EFFORT << IOPRIO_CLASS_SHIFT | LOW_IO_LEVEL
    NORMAL = IoClass.NONE << IOPRIO_CLASS_SHIFT


def _io_of(ioprio: int) -> Io:
    """Return what an I/O priority amounts to. What is above NORMAL is somebody's choice, and left alone."""
    io_class = ioprio >> IOPRIO_CLASS_SHIFT
    if io_class == IoClass.IDLE:
        return Io.IDLE
    low = io_class == IoClass.BEST_EFFORT and ioprio & IO_LEVEL_MASK >= LOW_IO_LEVEL
    return Io.BELOW_NORMAL if low else Io.NORMAL


class Target(NamedTuple):
    """What a level asks of one thread. A `nice` or an `io` of None is left alone."""

    policy: Policy
    nice: int | None = None
    io: Io | None = None

    def matches(self, now: Scheduling) -> bool:
        """Whether a thread that is scheduled by `now` is there."""
        follows_nice = self.io == Io.BELOW_NORMAL and now.io_class == IoClass.NONE
        return self.matches_cpu(now) and (self.matches_io(now) or follows_nice)

    def matches_io(self, now: Scheduling) -> bool:
        """Whether its I/O priority has been set to that."""
        return self.io in (None, _io_of(now.ioprio))

    def matches_cpu(self, now: Scheduling) -> bool:
        """Whether it is there, I/O aside."""
        return now.bare_policy == self.policy and self.nice in (None, now.nice)


_PROCESS: Final = {
    ProcessPriority.IDLE: Target(Policy.SCHED_IDLE, io=Io.IDLE),
    ProcessPriority.BELOW_NORMAL: Target(Policy.SCHED_BATCH, 10, io=Io.BELOW_NORMAL),
    ProcessPriority.NORMAL: Target(Policy.SCHED_OTHER, 0, io=Io.NORMAL),
    ProcessPriority.ABOVE_NORMAL: Target(Policy.SCHED_OTHER, -5, io=Io.NORMAL),
    ProcessPriority.HIGH: Target(Policy.SCHED_OTHER, -10, io=Io.NORMAL),
    ProcessPriority.REALTIME: Target(Policy.SCHED_RR, io=Io.NORMAL),
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
    def voluntary_switches(self) -> int: ...
    def run_state(self, tid: int) -> str: ...
    def open_schedstat(self) -> int: ...
    def read_schedstat(self, file: int) -> bytes: ...
    def executable(self) -> str: ...
    def read_text(self, path: str) -> str: ...
    def write_text(self, path: str, text: str) -> None: ...
    def get_data_limit(self) -> tuple[int, int]: ...
    def set_data_limit(self, limits: tuple[int, int]) -> None: ...
    def affinity(self) -> int: ...
    def page_size(self) -> int: ...
    def memory_pages(self) -> int: ...


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

        def voluntary_switches(self) -> int:
            import resource  # for who watches threads

            return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw

        def run_state(self, tid: int) -> str:
            with open(f"/proc/self/task/{tid}/stat", encoding="ascii", errors="replace") as stat:
                return stat.read().rpartition(")")[2].split(maxsplit=1)[0]

        def executable(self) -> str:
            return os.path.realpath("/proc/self/exe")

        def open_schedstat(self) -> int:
            return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

        def read_schedstat(self, file: int) -> bytes:
            return os.pread(file, 100, 0)

        def read_text(self, path: str) -> str:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read()

        def write_text(self, path: str, text: str) -> None:
            with open(path, "w", encoding="ascii") as file:
                file.write(text)

        def get_data_limit(self) -> tuple[int, int]:
            import resource  # for those who ask for a limit

            return resource.getrlimit(resource.RLIMIT_DATA)

        def set_data_limit(self, limits: tuple[int, int]) -> None:
            import resource

            resource.setrlimit(resource.RLIMIT_DATA, limits)

        def affinity(self) -> int:
            return len(os.sched_getaffinity(0))

        def page_size(self) -> int:
            return os.sysconf("SC_PAGE_SIZE")

        def memory_pages(self) -> int:
            return os.sysconf("SC_PHYS_PAGES")

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


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    tid = _SELF if thread is None else thread.native_id
    return _nearest_thread(kernel.read(_SELF if tid is None else tid))


def save_thread() -> Scheduling:
    return kernel.read(_SELF)


def restore_thread(saved: Scheduling) -> Shortfall | None:
    return _restore_each({_SELF: saved}, "the thread priority from before")


def release_thread() -> None:
    """Nothing to do: a thread's level ends with it."""


def count_ready() -> int | None:
    try:  # "0.20 0.18 0.12 1/80 11206", proc_loadavg(5)
        return int(kernel.read_text("/proc/loadavg").split()[3].partition("/")[0])
    except (OSError, IndexError, ValueError):
        return None


# --- any threads of this process


def library_threads() -> list[int]:
    """Return the threads that Python did not start, and that have no name of their own.

    A new thread has the name of the one that started it (``clone(2)``). Those of OpenBLAS, MKL and OpenMP keep it;
    those of communication libraries tend to take a name.
    """
    found = _threads(kernel.process_id())[0]
    python = [thread.native_id for thread in threading.enumerate()]
    if None in python:  # it is just being started, and cannot be told from the others
        return []
    names = {_thread_name(tid) for tid in python if tid is not None}
    # The main thread may have been given another name since.
    names.update(os.path.basename(path)[:_LONGEST_NAME] for path in (sys.executable, kernel.executable(), sys.argv[0]))
    return [tid for tid in found if tid not in python and _thread_name(tid) in names]


def get_threads(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    return {tid: _nearest_thread(now) for tid, now in _read(tids).items()}


def save_threads(tids: Iterable[int]) -> dict[int, Scheduling]:
    return _read(tids)


def set_threads(tids: Iterable[int], priority: ThreadPriority) -> None:
    _set_each(tids, _THREAD[priority])


def restore_threads(saved: dict[int, Scheduling]) -> Shortfall | None:
    return _restore_each(saved, "the priority from before of a thread")


def _thread_name(tid: int) -> str | None:
    try:
        return kernel.read_text(f"/proc/self/task/{tid}/comm").rstrip("\n")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return None


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
        found = _read(_threads(pid)[0])
        fresh = {tid for tid, now in found.items() if not (target.matches_cpu(now) and target.matches_io(now))} - tried
        if not fresh:
            return [now for now in found.values() if not target.matches(now)], refusals
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
    if target.io is not None and not target.matches_io(now):
        with refusals.collect("I/O class"):
            kernel.set_ioprio(tid, target.io)


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


def thread_waits() -> int | None:
    return kernel.voluntary_switches()


def is_ready(tid: int) -> bool:
    try:
        return kernel.run_state(tid) == "R"
    except OSError:
        return False


# --- what a process takes

# Added to a thousandth for each thousandth of the memory that is used: at 1000 the process comes before any other.
_OOM_SCORES: Final = {ProcessPriority.IDLE: 1000, ProcessPriority.BELOW_NORMAL: 800}


def set_background(priority: ProcessPriority) -> Shortfall | None:
    """Let the kernel take this process first when the memory runs out. I/O is part of the level, thread by thread."""
    wanted = _OOM_SCORES.get(priority)
    if wanted is None:
        return None
    path = "/proc/self/oom_score_adj"
    try:
        before = int(kernel.read_text(path))
        if before < wanted:
            kernel.write_text(path, str(wanted))
        now = int(kernel.read_text(path))
    except FileNotFoundError:  # not in this kernel, or /proc is not mounted, which the level has said
        return None
    except OSError as error:
        requested, remedy = f"oom_score_adj {wanted}", "Ask whoever runs this machine or container."
        return Shortfall(requested, "as before", f"the system forbids it ({error.strerror})", remedy)
    if now >= wanted:
        return None
    reason = "the kernel accepted the call and did nothing"
    return Shortfall(f"oom_score_adj {wanted}", str(now), reason, "Ask whoever runs this machine or container.")


def set_efficiency() -> Shortfall | None:
    """Nothing to ask for: Linux has no interface by which a program asks for efficient cores or a slower clock."""
    return None


def usable_cpus() -> float:
    cpus = count_cpus()
    with contextlib.suppress(OSError):
        cpus = min(cpus, kernel.affinity())
    return min(cpus, cpu_quota() or cpus)


def total_memory() -> int:
    total = kernel.page_size() * kernel.memory_pages()
    return min(total, memory_limit() or total)


def memory_in_use() -> int:
    data = int(kernel.read_text("/proc/self/statm").split()[5])
    return data * kernel.page_size()


def memory_unused() -> int:
    _, resident, file_backed, _, _, data, _ = map(int, kernel.read_text("/proc/self/statm").split())
    return max(0, data - (resident - file_backed)) * kernel.page_size()


def open_memory_limit() -> ResourceLimit:
    return ResourceLimit(kernel.get_data_limit, kernel.set_data_limit)


def find_group() -> Group | Shortfall:
    from . import _linux_groups  # for those who ask for isolation

    return _linux_groups.find_group()


def join_group(group: Group, registry: Any) -> Shortfall | None:
    from . import _linux_groups

    return _linux_groups.join_group(group, registry)


def open_keeper(context: BaseContext, group: Group) -> Any:
    if not TYPE_CHECKING or sys.platform == "linux":
        from ._linux_keeper import Keeper  # for those who ask for isolation

        return Keeper(context, group)
    raise AssertionError


def shared_memory() -> Any:
    if not TYPE_CHECKING or sys.platform == "linux":
        from ._linux_sharing import find_shared_memory  # here and not in workers, which get it when they need it

        return find_shared_memory()
    raise AssertionError


def loaded_libraries(pid: int) -> set[str]:
    try:
        maps = kernel.read_text(f"/proc/{pid}/maps")
    except OSError:
        return set()
    return {line.rpartition("/")[2] for line in maps.splitlines() if "/" in line}


def count_oom_kills() -> int | None:
    try:
        counters = dict(line.split() for line in kernel.read_text("/proc/vmstat").splitlines())
    except OSError:
        return None
    return int(counters.get("oom_kill", 0))


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
    if target.io == Io.IDLE:
        parts.append("I/O class idle")
    return ", ".join(parts)


def _name(kind: type[enum.IntEnum], value: int) -> str:
    return kind(value).name if value in kind._value2member_map_ else str(value)
