"""The functions of each topic of a system: one protocol for each topic, and protocols of the objects that they return.

This module is for type checkers and readers. Nothing in it runs.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Protocol

from .._levels import ProcessPriority, Shortfall, ThreadPriority
from .common import Group, Popen, ProcessDescription, Usage

if TYPE_CHECKING:
    import subprocess


class Priority(Protocol):
    """The priority of a process and of the calling thread. A `pid` of None is the calling process."""

    def set_process(self, priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
        """Set the priority of every thread of the process.

        Returns None if the process now has `priority`, or if `priority` is below NORMAL and the process stays at a
        lower priority that it cannot leave. Returns a Shortfall if only a substitute, or only the main thread's
        priority, was set. Raises PriorityError otherwise.
        """

    def start(self, priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
        """Start a process at `priority`, which it has from its beginning if the system can do that.

        `tell` is called with a Shortfall, if there is one: before the process starts, if it is known by then.
        """

    def cap_process(self, priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
        """Lower every thread of the process that is above `priority` to it, and leave the others as they are.

        Returns and raises as `set_process`. It never raises a thread's priority or I/O priority.
        """

    def get_process(self, pid: int | None = None) -> ProcessPriority:
        """Return the level nearest to the current priority of the process."""

    def save_process(self) -> Any:
        """Return the data that `restore_process` needs to restore this process exactly."""

    def restore_process(self, saved: Any) -> Shortfall | None:
        """Restore the priority of this process; return a Shortfall if that failed."""

    def set_thread(self, priority: ThreadPriority) -> Shortfall | None:
        """Set the priority of the calling thread; return and raise as `set_process`."""

    def get_thread(self, thread: threading.Thread | None = None) -> ThreadPriority:
        """Return the level nearest to the current priority of a thread of this process, by default the calling one."""

    def save_thread(self) -> Any:
        """Return the data that `restore_thread` needs to restore the calling thread exactly."""

    def restore_thread(self, saved: Any) -> Shortfall | None:
        """Restore the priority of the calling thread; return a Shortfall if that failed."""

    @property
    def release_thread(self) -> Callable[[], None] | None:
        """A function that prepares the calling thread for its end; None if no preparation is necessary."""

    def describe(self, pid: int | None = None) -> ProcessDescription:
        """Return the scheduling of the process; raise ProcessEndedError if the system shows that it is a zombie."""


class Threads(Protocol):
    """The priorities of any threads of this process, by thread id."""

    def of_libraries(self) -> list[int]:
        """Return the threads that libraries have started for computation; empty if not known."""

    def get_levels(self, tids: Iterable[int]) -> dict[int, ThreadPriority]:
        """Return the priority of each of these threads that exists."""

    def save_levels(self, tids: Iterable[int]) -> dict[int, Any]:
        """Return the data that `restore_levels` needs to restore these threads exactly."""

    def set_levels(self, tids: Iterable[int], priority: ThreadPriority) -> None:
        """Set the priority of threads, as far as the system lets one thread set another's."""

    def restore_levels(self, saved: dict[int, Any]) -> Shortfall | None:
        """Restore the priorities of threads; return a Shortfall if that failed."""


class Background(Protocol):
    """Settings that a worker makes for itself in addition to its priority."""

    def set_background(self, priority: ProcessPriority) -> Shortfall | None:
        """Set the I/O priority and the memory priority (or OOM score) that go with a priority.

        A setting that the system does not have is no shortfall, because only the priority was requested.
        """

    def start_child(self, priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
        """Start a child that will have `priority`, without the settings that this process has made for itself."""

    def set_efficiency(self) -> Shortfall | None:
        """Keep this process on efficient cores and clocks, if the system has an interface for that."""

    def end_with(self, lifeline: Any) -> None:
        """Let the system end this process as soon as its parent ends, also during a task, if the system can do that.

        `lifeline` is the reading end of a pipe whose other end only the parent has. On other systems, a worker finds
        the end of its pipe when it next reads a message from the parent.
        """


class Accounting(Protocol):
    """The CPUs of the machine, and their use by threads."""

    def usable_cpus(self) -> float:
        """Return the number of CPUs that this process may use, by its affinity and its CPU quotas."""

    def count_ready(self) -> int | None:
        """Return how many threads of the whole machine run or wait for a CPU; None if not known."""

    def cpu_delay(self) -> contextlib.AbstractContextManager[Callable[[], int]]:
        """Yield a function that returns how long, in ns, the calling thread has been ready to run without a CPU so far.

        The function always returns the same number if the system does not tell.
        """

    def thread_cpu_time(self, tid: int) -> int | None:
        """Return the CPU time in ns that a thread of this process has used.

        None if the system does not tell, or if the thread has ended.
        """

    def thread_cpu_delay(self, tid: int) -> int:
        """Return how long, in ns, a thread of this process has been ready to run without a CPU; 0 if not known."""

    def thread_waits(self) -> int | None:
        """Return how often the calling thread has begun to wait so far (voluntary switches); None if not known."""

    def pause(self, stop: threading.Lock, seconds: float) -> bool:
        """Wait for exactly `seconds`, or less if `stop` can be acquired before; return whether it was acquired."""


class MemoryLimit(Protocol):
    """A limit of this process's memory. Each method raises OSError if the system refuses the call."""

    def hold(self, limit: int) -> None:
        """Set the limit, in bytes, unless a stricter one is set."""

    def lift(self) -> None:
        """Restore the limit from before `hold`."""

    def in_force(self) -> bool:
        """Return whether the system reports the limit that `hold` has set last."""


class ExitTrap(Protocol):
    """Ends this process at once if compiled code calls the C library's ``exit`` while a task runs.

    The handlers of ``exit`` are meant for the end of a process. During a task they may wait forever.
    """

    def lay(self) -> None:
        """Register the trap before all exit handlers that are registered so far."""

    def set(self) -> None:
        """Set the trap. Only the main thread calls this."""

    def unset(self) -> None:
        """Let the process exit as usual."""


class Memory(Protocol):
    """The amount of memory, its use, and its limits."""

    def total(self) -> int:
        """Return the bytes of memory that this process could use at most, including memory that others use now."""

    def limit_of_groups(self) -> int | None:
        """Return the memory limit of this process's control groups in bytes; None if they have no limit."""

    def in_use(self) -> int:
        """Return how many bytes this process uses, as a `MemoryLimit` counts them."""

    def unused(self) -> int:
        """Return how many of these bytes this process has reserved but not touched."""

    def stack_size(self) -> int:
        """Return the size of a new thread's stack in bytes, as a `MemoryLimit` counts it before it is touched."""

    def open_exit_trap(self) -> ExitTrap:
        """Create a trap for this process."""

    def is_trapped(self, exitcode: int) -> bool:
        """Return whether a process has ended in such a trap, by :attr:`multiprocessing.Process.exitcode`."""

    def open_limit(self) -> MemoryLimit:
        """Create a limit for this process; raise OSError if the system has none."""

    def count_oom_kills(self) -> int | None:
        """Return how many processes the system has killed so far for lack of memory; None if not known."""

    def loaded_libraries(self, pid: int) -> set[str]:
        """Return the names of the files that a process has mapped; empty if not known."""


class Keeper(Protocol):
    """Manages a group and its workers."""

    @property
    def registry(self) -> Any:
        """The object by which a worker registers. It can be pickled while the worker's process starts."""

    def start(self) -> None:
        """Create the group before the first worker starts; later calls do nothing."""

    def close(self) -> None:
        """Remove the group, after the last worker has ended."""


class Groups(Protocol):
    """Task groups, within which a low priority counts."""

    def find(self) -> Group | Shortfall | None:
        """Return a group in which a low priority counts against all programs, or a Shortfall; None: everywhere."""

    def join(self, group: Group, registry: Any) -> Shortfall | None:
        """Move this worker to a group, and register it with the group's keeper."""

    def enter(self) -> Shortfall | None:
        """Move this process permanently, and without a keeper, to such a group, if the system has groups."""

    def members(self, pid: int) -> list[int]:
        """Return the processes of the group to which `join` has moved a worker; none if it is in no such group."""

    def open_keeper(self, context: BaseContext, group: Group) -> Keeper:
        """Create the keeper of a group that `find` has returned."""


class Segment(Protocol):
    """Memory that can be mapped. The process that created or opened it closes it, at the latest when it is deleted."""

    @property
    def address(self) -> Any:
        """The address by which other processes open the segment while it is open here; it can be pickled."""

    def write(self, data: memoryview, offset: int) -> None:
        """Copy bytes into the segment, without the GIL; raise OSError if there is no memory for them."""

    def read_into(self, target: memoryview, offset: int) -> None:
        """Copy bytes out of the segment, without the GIL."""

    def view(self, start: int, stop: int) -> memoryview:
        """Map a part, writable; changes stay in this process. The part is unmapped with its last view."""

    def close(self) -> None:
        """Close the segment; its views stay valid."""


class Sender(Protocol):
    """A worker's end of an `Exchange`. It can be pickled while a process starts."""

    def send(self, segment: Any) -> Any:
        """Send a segment to the parent, close it here, and return the ticket by which the parent takes it.

        Raises OSError if sending is not possible now, ConnectionError if it will never be possible again.
        """

    def ask(self, address: Any, put: Callable[[Any, Any], None]) -> "Segment":
        """Request from the parent a segment that cannot be opened here; raise OSError if it does not come.

        `put` sends the parent the arguments of `Exchange.answer`.
        """


class Exchange(Protocol):
    """The parent's end, to which the workers of one pool send segments. A segment has one owner at any time."""

    @property
    def sender(self) -> Sender:
        """The workers' end."""

    def take(self, ticket: Any) -> Segment:
        """Return a segment that a worker has sent."""

    def answer(self, address: Any, reply_to: Any) -> None:
        """Send a worker the segment that it requests, if the segment still exists."""

    def close(self) -> None:
        """Release the segments that were not taken."""


class SharedMemory(Protocol):
    """The shared memory of a system, for large buffers."""

    def create(self, size: int) -> Segment:
        """Return a new segment of `size` bytes; raise OSError if the system refuses it."""

    def open(self, address: Any) -> Segment:
        """Return a segment of another process."""

    def exchange(self) -> Exchange:
        """Return a new exchange."""


class Sharing(Protocol):
    """Memory that one process fills and another one maps."""

    def find_shared_memory(self) -> SharedMemory | None:
        """Return this system's shared memory; None if it has none that is always freed with its processes."""


class Program(Protocol):
    """A program that its parent, this process, can pause."""

    def begin(self, pid: int) -> None:
        """Start watching the program, whose process id is `pid`."""

    def is_paused(self) -> bool:
        """Return whether the program should be paused."""

    def recheck(self) -> None:
        """Stop the program again if it should be paused, because another process may have continued it."""

    def release(self) -> None:
        """Continue the program until there is a new reason to pause."""

    def end(self) -> None:
        """Stop watching the program, which has ended."""


class Command(Protocol):
    """Running a command at a priority."""

    def is_program(self, path: str) -> bool:
        """Return whether the system runs the file itself, unlike a Python script."""

    def become(
        self, command: list[str], priority: ProcessPriority, *, efficiency: bool, program: Program | None = None
    ) -> int:
        """Run `command` in place of this process, which is at `priority`; return its exit status if it ran as a child.

        `program` is told about the child, if there is one. Raises OSError if the command cannot be run, PriorityError
        if it cannot be run this way.
        """

    def attend(self, start: Callable[[Program | None], int], program: Program) -> int:
        """Stay as the parent of a program, pass on all signals, and return its exit status, or end by its signal.

        `start` calls `become` last, and passes its argument on. If the system can replace processes, `start` is called
        in the program's process. If this process is killed, the system kills the program too, if it can do that.
        """


class StoppedGuard(Protocol):
    """Continues or ends processes that this process has stopped, if this process ends."""

    @property
    def end(self) -> object:
        """The end of a pipe that no child may have, and that the caller closes after `close`; or None."""

    def add(self, pid: int) -> None:
        """Guard a process: if this process ends before `close`, that process is continued or ended."""

    def remove(self, pid: int) -> None:
        """Guard a process no longer, because it has been continued, if the system can do that."""

    def close(self) -> None:
        """End the guard. The guarded processes stay as they are."""


class Guard(Protocol):
    """The treatment of stopped processes when this process ends in any way."""

    @property
    def SUSPENDS_COUNT(self) -> bool:  # noqa: N802, a constant
        """Whether a process must be resumed as often as it was suspended, and may look running while suspended."""

    def Guard(self) -> StoppedGuard:  # noqa: N802, a class
        """Return a guard without processes."""


class Survey(Protocol):
    """A description of the machine, for ``nicefutures doctor``."""

    def sessions_are_groups(self) -> bool:
        """Return whether a priority may count only within the process's own session."""

    def describe_machine(self) -> dict[str, Any]:
        """Return properties of the machine, None for unknown ones; never raise."""


class Activity(Protocol):
    """Use of this machine by users and other programs, and its power. Functions raise CannotTellError if not known.

    An opened function is for one thread. It may raise OSError or CannotTellError later, if the answers stop.
    """

    def open_idle_clock(self) -> Callable[[], float]:
        """Return a function that returns how many seconds ago the keyboard or the mouse was last used."""

    def open_battery(self) -> Callable[[], bool]:
        """Return a function that returns whether this machine runs on its battery; False if it has none."""

    def open_memory(self) -> Callable[[], bool]:
        """Return a function that returns whether the system reports a shortage of memory."""

    def busy_seconds(self) -> float:
        """Return the CPU time in seconds that all programs of this machine have used."""

    def list_usage(self, pids: Iterable[int] | None = None) -> dict[int, Usage]:
        """Return the usage of these processes, or of all visible processes, by process id."""

    def list_threads(self, pid: int) -> dict[int, Usage]:
        """Return the usage of each thread of a process; empty if the system does not tell."""
