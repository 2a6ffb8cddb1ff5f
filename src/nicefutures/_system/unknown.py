"""A system about which nothing is known except that it runs Python. Other systems use these functions as defaults.

All topics are in this module: the functions have the names of their protocols, and no name is in two protocols.
"""

import contextlib
import errno
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Final, NoReturn

from .._levels import PriorityError, ProcessPriority, Shortfall, ThreadPriority
from .common import CannotTellError, Group, Popen, ProcessDescription, Usage, count_cpus, name_process, start_and_set
from .protocols import Program

if TYPE_CHECKING:
    import subprocess

_REASON: Final = "not supported: nothing is known of this system's priorities"
_REMEDY: Final = "Leave the level at 'normal', or set it by the system's own means."


# --- priority: every process and thread counts as NORMAL, and no other priority can be set


def set_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    if priority == ProcessPriority.NORMAL:
        return None
    raise PriorityError(Shortfall(f"priority {priority.name} of {name_process(pid)}", "", _REASON, _REMEDY))


def cap_process(priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
    return None if get_process(pid) <= priority else set_process(priority, pid)


def start(priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
    start_and_set(popen, functools.partial(set_process, priority), tell)


def get_process(pid: int | None = None) -> ProcessPriority:
    return ProcessPriority.NORMAL


def save_process() -> None:
    """Nothing to save: no process is ever changed."""


def restore_process(saved: None) -> Shortfall | None:
    return None


def set_thread(priority: ThreadPriority) -> Shortfall | None:
    if priority == ThreadPriority.NORMAL:
        return None
    return Shortfall(f"thread priority {priority.name}", "", _REASON, _REMEDY)


def get_thread(thread: threading.Thread | None = None) -> ThreadPriority:
    return ThreadPriority.NORMAL


def save_thread() -> None:
    """Nothing to save: no thread is ever changed."""


def restore_thread(saved: None) -> Shortfall | None:
    return None


release_thread: Final = None


def describe(pid: int | None = None) -> ProcessDescription:
    return ProcessDescription(level=get_process(pid), threads=None)


# --- threads: none is known, and a thread can set only its own priority


def of_libraries() -> list[int]:
    return []


def get_levels(tids: Iterable[int]) -> dict[int, ThreadPriority]:
    return {}


def save_levels(tids: Iterable[int]) -> dict[int, Any]:
    return {}


def set_levels(tids: Iterable[int], priority: ThreadPriority) -> None:
    return None


def restore_levels(saved: dict[int, Any]) -> Shortfall | None:
    return None


# --- background: no settings beside the priority


def set_background(priority: ProcessPriority) -> Shortfall | None:
    return None


def start_child(priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
    popen()
    return None


def set_efficiency() -> Shortfall | None:
    return None


def end_with(lifeline: Any) -> None:
    """Do nothing: this is not possible here."""


# --- accounting: the CPUs that Python counts


def usable_cpus() -> float:
    return count_cpus()


def count_ready() -> int | None:
    return None


@contextlib.contextmanager
def cpu_delay() -> Iterator[Callable[[], int]]:
    yield lambda: 0


def thread_cpu_time(tid: int) -> int | None:
    return None


def thread_cpu_delay(tid: int) -> int:
    return 0


def thread_waits() -> int | None:
    return None


def pause(stop: threading.Lock, seconds: float) -> bool:
    """Wait for the lock, which is as exact as sleeping."""
    return stop.acquire(timeout=seconds)


# --- memory: what psutil reports; memory cannot be limited


def total() -> int:
    import psutil  # here, for programs with a limit

    return int(psutil.virtual_memory().total)


def limit_of_groups() -> int | None:
    return None


def in_use() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def unused() -> int:
    return 0


def stack_size() -> int:
    return 0


class NoExitTrap:
    """Does nothing: no handler of ``exit`` is known to hang."""

    def lay(self) -> None: ...
    def set(self) -> None: ...
    def unset(self) -> None: ...


def open_exit_trap() -> NoExitTrap:
    return NoExitTrap()


def is_trapped(exitcode: int) -> bool:
    return False


def open_limit() -> NoReturn:
    raise OSError(errno.ENOTSUP, "no limit of a process's memory is known that this system enforces")


def count_oom_kills() -> int | None:
    return None


def loaded_libraries(pid: int) -> set[str]:
    return set()


# --- groups: the system ranks all programs together, without groups


def find() -> Group | Shortfall | None:
    return None


def join(group: Group, registry: Any) -> Shortfall | None:
    return None


def enter() -> Shortfall | None:
    return None


def members(pid: int) -> list[int]:
    return []


def open_keeper(context: BaseContext, group: Group) -> NoReturn:
    """Raise: there is no group."""
    raise AssertionError(group)


# --- guard: nothing continues stopped processes when this one ends


SUSPENDS_COUNT: Final = False


class Guard:
    """Does nothing."""

    end = None

    def add(self, pid: int) -> None: ...
    def remove(self, pid: int) -> None: ...
    def close(self) -> None: ...


# --- sharing: no shared memory that the system frees by itself when processes are killed


def find_shared_memory() -> None:
    return None


# --- command: it runs as a child, because no process can be replaced


def is_program(path: str) -> bool:
    return False


def become(command: list[str], priority: ProcessPriority, *, efficiency: bool, program: Program | None = None) -> int:
    import subprocess  # here, because workers do not need it

    with subprocess.Popen(command) as process:
        if program is not None:
            program.begin(process.pid)
        try:
            return process.wait()
        finally:
            if program is not None:
                program.end()


def attend(start: Callable[[Program | None], int], program: Program) -> int:
    return start(program)


# --- survey: the name of the system


def sessions_are_groups() -> bool:
    return False


def describe_machine() -> dict[str, Any]:
    import platform  # here, because it takes milliseconds, and workers do not need it

    version, _, _ = platform.mac_ver()
    return {"macos": version} if version else {"kernel": f"{platform.system()} {platform.release()}"}


# --- activity: battery and CPU times by psutil; nothing about users or a shortage of memory


def open_idle_clock() -> Callable[[], float]:
    reason = "it is not known how this system tells when the keyboard was last used"
    raise CannotTellError(reason, "Pass a function of your own.")


def open_battery() -> Callable[[], bool]:
    import psutil  # here, for programs with this condition

    ask = getattr(psutil, "sensors_battery", None)
    if ask is None:
        reason = "psutil does not know how this system tells whether it runs on its battery"
        raise CannotTellError(reason, "Pass a function of your own.")

    def is_on_battery() -> bool:
        battery = ask()
        return battery is not None and battery.power_plugged is False

    return is_on_battery


def open_memory() -> Callable[[], bool]:
    reason = "it is not known how this system tells that it is short of memory"
    raise CannotTellError(reason, "Pass a function of your own.")


def busy_seconds() -> float:
    import psutil

    times = psutil.cpu_times()
    return float(times.user + getattr(times, "nice", 0.0) + times.system)


def list_usage(pids: Iterable[int] | None = None) -> dict[int, Usage]:
    import psutil

    usage = {}
    for pid in psutil.pids() if pids is None else pids:
        with contextlib.suppress(psutil.Error):  # it has ended, or belongs to another user
            process = psutil.Process(pid)
            with process.oneshot():
                times, is_low = process.cpu_times(), process.nice() > 0
                used = times.user + times.system
                usage[pid] = Usage(process.create_time(), process.ppid(), used, 0.0, 1, counts=not is_low)
    return usage


def list_threads(pid: int) -> dict[int, Usage]:
    return {}
