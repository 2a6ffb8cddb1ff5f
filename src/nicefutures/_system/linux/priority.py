"""The priority of a process, with all its threads, and of the calling thread."""

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from ..._levels import NotPermittedError, PriorityError, ProcessPriority, Shortfall, ThreadPriority
from ..common import (
    MAIN_THREAD_ENDED,
    THREADS_UNKNOWN,
    Popen,
    ProcessDescription,
    name_process,
    no_such_process,
    process_ended,
    start_and_set,
)
from . import seam
from .scheduling import (
    LOWEST_NICE,
    PROCESS_TARGETS,
    RESET_ON_FORK,
    THREAD_TARGETS,
    IoClass,
    Policy,
    Scheduling,
    Target,
    describe_process_level,
    describe_target,
    describe_thread_level,
    name_of,
    nearest_process,
    nearest_thread,
)
from .walk import Refusals, ZombieError, explain, list_threads, read_all, restore_each, set_all, set_each

# --- processes


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    return _put_process(priority, pid, cap=False)


def cap_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    return _put_process(priority, pid, cap=True)


def _put_process(priority: ProcessPriority, pid: int | None, *, cap: bool) -> Shortfall | None:
    target = PROCESS_TARGETS[priority]
    with _lookup(pid, f"priority {priority.name} of {name_process(pid)}", "set") as leader:
        behind, refusals = set_all(leader, target, cap=cap)
        tids, all_threads = list_threads(leader)
    requested = f"priority {priority.name} of process {leader} ({describe_target(target)})"
    if behind:
        in_force = describe_process_level(behind[0])
        if not all_threads:
            in_force += " for the main thread"
        elif len(behind) < len(tids):
            in_force += f" for {len(behind)} of {len(tids)} threads"
        if not seam.system.is_ours(leader):
            _raise_not_ours(requested, in_force, leader, all_threads=all_threads)
        return _shortfall(requested, target, behind, refusals, in_force)
    return None if all_threads else _unlisted(requested, seam.system.read(leader))


def get_process(pid: int | None = None) -> ProcessPriority:
    with _lookup(pid, f"the priority of {name_process(pid)}") as leader:
        tids, _ = list_threads(leader)
        return nearest_process(seam.system.read(tids[0]))


def start(priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
    target = PROCESS_TARGETS[priority]
    now = seam.system.read(_SELF)
    if target.matches_cpu(now) and target.matches_io(now):  # a child inherits from the thread that starts it
        popen()
        return
    errors: list[BaseException] = []

    def start_at_level() -> None:
        refusals = set_each({_SELF: target})
        now = seam.system.read(_SELF)
        if not target.is_met(now):
            requested = f"priority {priority.name} of a new process ({describe_target(target)})"
            try:
                shortfall = _shortfall(requested, target, [now], refusals, describe_process_level(now))
            except PriorityError as error:
                shortfall = error.args[0]
            tell(shortfall)
        popen()

    def run() -> None:
        try:
            start_at_level()
        except BaseException as error:  # noqa: BLE001, raised below
            errors.append(error)

    thread = threading.Thread(target=run)  # this thread might not get its priority back
    try:
        thread.start()
    except (RuntimeError, MemoryError):  # the interpreter shuts down, or memory runs out
        start_and_set(popen, functools.partial(set_process, priority), tell)
        return
    thread.join()
    if errors:
        raise errors[0]


def save_process() -> dict[int, Scheduling]:
    tids, _ = list_threads(seam.system.process_id())
    return read_all(tids)


def restore_process(saved: dict[int, Scheduling]) -> Shortfall | None:
    pid = seam.system.process_id()
    main = saved.get(pid, next(iter(saved.values())))  # the main thread may have ended
    # A thread that started later gets the main thread's saved priority.
    tids, _ = list_threads(pid)
    return restore_each({tid: saved.get(tid, main) for tid in tids}, f"the priority of process {pid}")


def describe(pid: int | None = None) -> ProcessDescription:
    with _lookup(pid, f"the priority of {name_process(pid)}") as leader:
        tids, all_threads = list_threads(leader)
        main = seam.system.read(tids[0])
        threads = Counter(map(nearest_thread, read_all(tids).values()))
    state = None if all_threads else THREADS_UNKNOWN
    return ProcessDescription(
        level=nearest_process(main),
        threads=dict(sorted(threads.items())) if all_threads else None,
        policy=name_of(Policy, main.bare_policy),
        nice=main.nice,
        io_class=name_of(IoClass, main.io_class).lower().replace("_", "-"),
        state=state if leader in tids else MAIN_THREAD_ENDED,
    )


# --- the calling thread

_SELF: Final = 0


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    target = THREAD_TARGETS[priority]
    if target.nice is not None:  # the usual case, made fast because each worker of a pool needs it
        with contextlib.suppress(OSError):
            policy, _ = seam.system.read_cpu(_SELF)
            if policy & ~RESET_ON_FORK == target.policy:
                seam.system.set_nice(_SELF, target.nice)
                if seam.system.read_cpu(_SELF) == (policy, target.nice):
                    return None
    refusals = set_each({_SELF: target})
    now = seam.system.read(_SELF)
    if target.is_met(now):
        return None
    requested = f"thread priority {priority.name} ({describe_target(target)})"
    return _shortfall(requested, target, [now], refusals, describe_thread_level(now))


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    tid = _SELF if thread is None else thread.native_id
    return nearest_thread(seam.system.read(_SELF if tid is None else tid))


def save_thread() -> Scheduling:
    return seam.system.read(_SELF)


def restore_thread(saved: Scheduling) -> Shortfall | None:
    return restore_each({_SELF: saved}, "the thread priority")


# A thread's priority ends with the thread.
release_thread: Final = None


# --- explaining errors


@contextlib.contextmanager
def _lookup(pid: int | None, requested: str, action: str = "read") -> Iterator[int]:
    """Yield the process id; raise a PriorityError if the process does not exist or cannot be read."""
    try:
        yield seam.system.process_id() if pid is None else pid
    except ZombieError as error:
        raise process_ended(requested, pid) from error
    except (ProcessLookupError, OverflowError) as error:
        if isinstance(error, PriorityError):
            raise
        raise no_such_process(requested, pid) from error
    except PermissionError as error:
        if isinstance(error, PriorityError):
            raise
        reason = f"reading {name_process(pid)} is forbidden ({error.strerror})"
        remedy = "Run this as the owner of the process or as root, or outside the sandbox."
        raise NotPermittedError(Shortfall(requested, "", reason, remedy, action)) from error


def _shortfall(
    requested: str, target: Target, behind: list[Scheduling], refusals: Refusals, in_force: str
) -> Shortfall:
    """Return the shortfall if the threads have a low priority anyway, otherwise raise it."""
    reason, remedy = explain(refusals, target.policy, behind)
    shortfall = Shortfall(requested, in_force, reason, remedy)
    substitute = LOWEST_NICE if target.policy == Policy.SCHED_IDLE else target.nice
    low_instead = target.policy in (Policy.SCHED_IDLE, Policy.SCHED_BATCH) and substitute is not None
    if all(
        target.matches_cpu(now) or (low_instead and now.nice == substitute and now.bare_policy != Policy.SCHED_IDLE)
        for now in behind
    ):
        return shortfall._replace(action="fully set")
    raise PriorityError(shortfall)


def _raise_not_ours(requested: str, in_force: str, pid: int, *, all_threads: bool) -> NoReturn:
    reason = f"process {pid} belongs to another user"
    if not all_threads:
        reason += ", and /proc hides its threads"
    raise NotPermittedError(Shortfall(requested, in_force, reason, "Run this as that user or as root."))


def _unlisted(requested: str, main: Scheduling) -> Shortfall:
    try:
        seam.system.threads(seam.system.process_id())
        why, remedy = "hides the process", "Run it as root, or in the group that /proc is mounted with (gid=, proc(5))."
    except FileNotFoundError:
        why, remedy = "is not mounted", "Mount /proc."
    reason = f"its threads cannot be listed because /proc {why}, so only the main thread was reached"
    return Shortfall(f"{requested} for every thread", describe_process_level(main), reason, remedy, "fully set")
