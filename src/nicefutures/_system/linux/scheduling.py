"""The scheduling parameters of a thread, and those that each priority sets."""

import enum
from typing import Final, NamedTuple

from ..._levels import ProcessPriority, ThreadPriority
from ..common import nearest


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

REALTIME_POLICIES: Final = (Policy.SCHED_FIFO, Policy.SCHED_RR, Policy.SCHED_DEADLINE)


class Scheduling(NamedTuple):
    """The scheduling parameters of one thread. `policy` includes the reset-on-fork flag."""

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
        policy = name_of(Policy, self.bare_policy)
        if self.bare_policy in REALTIME_POLICIES:
            return f"{policy} {self.rt_priority}"
        return f"{policy}, nice {self.nice}"


IO_LEVEL_MASK: Final = 7  # IOPRIO_LEVEL_MASK, linux/ioprio.h
# The I/O level that the kernel gives a process at nice 10: (10 + 20) / 5.
LOW_IO_LEVEL: Final = 6


class Io(enum.IntEnum):
    """The I/O priorities that process priorities set for a thread."""

    IDLE = IoClass.IDLE << IOPRIO_CLASS_SHIFT
    BELOW_NORMAL = IoClass.BEST_EFFORT << IOPRIO_CLASS_SHIFT | LOW_IO_LEVEL
    NORMAL = IoClass.NONE << IOPRIO_CLASS_SHIFT


def _io_of(ioprio: int) -> Io:
    """Return the member for an I/O priority. One above NORMAL counts as NORMAL: a user chose it, and it is kept."""
    io_class = ioprio >> IOPRIO_CLASS_SHIFT
    if io_class == IoClass.IDLE:
        return Io.IDLE
    low = io_class == IoClass.BEST_EFFORT and ioprio & IO_LEVEL_MASK >= LOW_IO_LEVEL
    return Io.BELOW_NORMAL if low else Io.NORMAL


class Target(NamedTuple):
    """The parameters that a priority sets for one thread. A `nice` or an `io` of None is not changed."""

    policy: Policy
    nice: int | None = None
    io: Io | None = None

    def is_met(self, now: Scheduling) -> bool:
        """Return whether a thread at `now` has reached this target, or is below it if this is a low target."""
        follows_nice = self.io == Io.BELOW_NORMAL and now.io_class == IoClass.NONE
        return (self.matches_cpu(now) or self.is_above(now)) and (
            self.matches_io(now) or follows_nice or self.is_above_io(now)
        )

    def is_above(self, now: Scheduling) -> bool:
        """Return whether this is a low target, and a thread at `now` is still lower, I/O aside."""
        if self.policy == Policy.SCHED_IDLE or self.nice is None or self.nice <= 0:
            return False
        if now.bare_policy == Policy.SCHED_IDLE:
            return True
        return now.bare_policy in (Policy.SCHED_OTHER, Policy.SCHED_BATCH) and now.nice > self.nice

    def is_above_io(self, now: Scheduling) -> bool:
        """Return whether this is a low target, and the I/O priority of a thread at `now` is still lower."""
        return self.io == Io.BELOW_NORMAL and _io_of(now.ioprio) == Io.IDLE

    def matches_io(self, now: Scheduling) -> bool:
        """Return whether a thread at `now` has this target's I/O priority."""
        return self.io in (None, _io_of(now.ioprio))

    def capped(self, now: Scheduling) -> "Target | None":
        """Return the target that lowers a thread at `now` to this one and raises nothing; None if it is not above.

        Only the CPU priority decides: an I/O priority that is above this one was chosen separately, and is kept.
        """
        if _rank(now.bare_policy, now.nice) >= _rank(self.policy, self.nice or 0):
            return None
        nice = None if self.nice is None else max(self.nice, now.nice)
        # A lower I/O class has a larger number.
        io = None if self.io is None or _io_of(now.ioprio) > self.io else self.io
        return Target(self.policy, nice, io)

    def matches_cpu(self, now: Scheduling) -> bool:
        """Return whether a thread at `now` has reached this target, I/O aside."""
        return now.bare_policy == self.policy and self.nice in (None, now.nice)


def _rank(policy: int, nice: int) -> int:
    """Return the rank of a thread on the scale of nice values."""
    if policy in REALTIME_POLICIES:
        return -21
    return 20 if policy == Policy.SCHED_IDLE else nice


PROCESS_TARGETS: Final = {
    ProcessPriority.IDLE: Target(Policy.SCHED_IDLE, io=Io.IDLE),
    ProcessPriority.BELOW_NORMAL: Target(Policy.SCHED_BATCH, 10, io=Io.BELOW_NORMAL),
    ProcessPriority.NORMAL: Target(Policy.SCHED_OTHER, 0, io=Io.NORMAL),
    ProcessPriority.ABOVE_NORMAL: Target(Policy.SCHED_OTHER, -5, io=Io.NORMAL),
    ProcessPriority.HIGH: Target(Policy.SCHED_OTHER, -10, io=Io.NORMAL),
    ProcessPriority.REALTIME: Target(Policy.SCHED_RR, io=Io.NORMAL),
}
THREAD_TARGETS: Final = {
    ThreadPriority.IDLE: Target(Policy.SCHED_IDLE),
    ThreadPriority.LOWEST: Target(Policy.SCHED_OTHER, 19),
    ThreadPriority.BELOW_NORMAL: Target(Policy.SCHED_OTHER, 5),
    ThreadPriority.NORMAL: Target(Policy.SCHED_OTHER, 0),
    ThreadPriority.ABOVE_NORMAL: Target(Policy.SCHED_OTHER, -5),
    ThreadPriority.HIGHEST: Target(Policy.SCHED_OTHER, -10),
    ThreadPriority.TIME_CRITICAL: Target(Policy.SCHED_RR),
}
_PROCESS_NICE: Final = {target.nice: level for level, target in PROCESS_TARGETS.items() if target.nice is not None}
_PROCESS_NICE[LOWEST_NICE + 1] = ProcessPriority.IDLE  # SCHED_IDLE is one step below nice 19
_THREAD_NICE: Final = {target.nice: level for level, target in THREAD_TARGETS.items() if target.nice is not None}


def nearest_process(now: Scheduling) -> ProcessPriority:
    if now.bare_policy in REALTIME_POLICIES:
        return ProcessPriority.REALTIME
    if now.bare_policy == Policy.SCHED_IDLE:
        return ProcessPriority.IDLE
    return nearest(_PROCESS_NICE, now.nice)


def nearest_thread(now: Scheduling) -> ThreadPriority:
    if now.bare_policy in REALTIME_POLICIES:
        return ThreadPriority.TIME_CRITICAL
    if now.bare_policy == Policy.SCHED_IDLE:
        return ThreadPriority.IDLE
    return nearest(_THREAD_NICE, now.nice)


def describe_process_level(now: Scheduling) -> str:
    return f"{nearest_process(now).name} ({now})"


def describe_thread_level(now: Scheduling) -> str:
    return f"{nearest_thread(now).name} ({now})"


def describe_target(target: Target) -> str:
    parts = [target.policy.name]
    if target.nice is not None:
        parts.append(f"nice {target.nice}")
    if target.io == Io.IDLE:
        parts.append("I/O class idle")
    return ", ".join(parts)


def name_of(kind: type[enum.IntEnum], value: int) -> str:
    return kind(value).name if value in kind._value2member_map_ else str(value)
