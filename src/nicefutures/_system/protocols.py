"""What each topic of a system offers, in words: one protocol a topic, and the protocols of what they hand out.

For type checkers and readers; nothing here runs.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Protocol

from .._levels import ProcessPriority, Shortfall, ThreadPriority
from .common import Group, Popen, ProcessDescription

if TYPE_CHECKING:
    import subprocess


class Priority(Protocol):
    """The level of a process and of the calling thread. A `pid` of None is the calling process."""

    def set_process(self, priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
        """Put every thread of the process at `priority`.

        Returns None if that level is now in force, or if it is one below NORMAL and a lower one has been in force that
        cannot be left; or what is missing if a lower level than before, though not the one asked for, is in force.
        Raises PriorityError if the process did not get there.
        """

    def start(self, priority: ProcessPriority, popen: Popen, tell: Callable[[Shortfall], None]) -> None:
        """Start a process at `priority`: from its beginning, where the system has a way to do that.

        `tell` is called with what is missing, before the process starts if that is known by then.
        """

    def cap_process(self, priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
        """Put every thread of the process that is above `priority` there, and leave the others where they are.

        Returns and raises as `set_process`. Nothing is raised: neither a thread, nor its I/O priority.
        """

    def get_process(self, pid: int | None = None) -> ProcessPriority:
        """Return the level that is nearest to what is in force for the process."""

    def save_process(self) -> Any:
        """Return what `restore_process` needs to put this process back, exactly."""

    def restore_process(self, saved: Any) -> Shortfall | None:
        """Put this process back; returns what could not be."""

    def set_thread(self, priority: ThreadPriority) -> Shortfall | None:
        """Put the calling thread at `priority`; returns and raises as `set_process`."""

    def get_thread(self, thread: threading.Thread | None = None) -> ThreadPriority:
        """Return the level that is nearest to what is in force for a thread of this process, or the calling one."""

    def save_thread(self) -> Any:
        """Return what `restore_thread` needs to put the calling thread back, exactly."""

    def restore_thread(self, saved: Any) -> Shortfall | None:
        """Put the calling thread back; returns what could not be."""

    @property
    def release_thread(self) -> Callable[[], None] | None:
        """What prepares the calling thread for its end; None if nothing has to."""

    def describe(self, pid: int | None = None) -> ProcessDescription:
        """Return all that is known of the process's scheduling; raises ProcessEndedError for a zombie that is seen."""


class Threads(Protocol):
    """The levels of any threads of this process, by thread id."""

    def of_libraries(self) -> list[int]:
        """Return the threads that libraries have started to compute with; empty where not known."""

    def get_levels(self, tids: Iterable[int]) -> dict[int, ThreadPriority]:
        """Return the level of each of these threads that there is."""

    def save_levels(self, tids: Iterable[int]) -> dict[int, Any]:
        """Return what `restore_levels` needs to put these threads back, exactly."""

    def set_levels(self, tids: Iterable[int], priority: ThreadPriority) -> None:
        """Put threads at `priority`, as far as the system lets one thread do that to another."""

    def restore_levels(self, saved: dict[int, Any]) -> Shortfall | None:
        """Put threads back; returns what could not be."""


class Background(Protocol):
    """What a worker sets for itself besides its level."""

    def set_background(self, priority: ProcessPriority) -> Shortfall | None:
        """Set what goes with a level besides the CPU: I/O, and whose memory the system takes first.

        What the system does not have is no shortfall: the level alone was asked for.
        """

    def start_child(self, priority: ProcessPriority, popen: Callable[[], "subprocess.Popen[Any]"]) -> Shortfall | None:
        """Start a child that is to be at `priority`, without what this process has set for itself."""

    def set_efficiency(self) -> Shortfall | None:
        """Keep this process to efficient cores and clocks, where the system has an interface for that."""

    def end_with(self, lifeline: Any) -> None:
        """Let the system end this process with its parent, at once and whatever it does, if it has a way.

        `lifeline` is the reading end of a pipe whose other end only the parent has. Where there is no way, who reads
        from a pipe to the parent finds its end.
        """


class Accounting(Protocol):
    """What CPUs there are, and what threads do with them."""

    def usable_cpus(self) -> float:
        """Return how many CPUs' time this process may use: its affinity and quotas count."""

    def count_ready(self) -> int | None:
        """Return how many threads of the whole machine run or wait for a CPU; None where that is not known."""

    def cpu_delay(self) -> contextlib.AbstractContextManager[Callable[[], int]]:
        """Give a function that tells how long, in ns, the calling thread has been ready to run and had no CPU so far.

        It tells always the same where the system does not know.
        """

    def thread_cpu_time(self, tid: int) -> int | None:
        """Return the CPU time in ns that a thread of this process has used.

        None if the system does not tell, or if there is no such thread any more.
        """

    def thread_cpu_delay(self, tid: int) -> int:
        """Return how long, in ns, a thread of this process has been ready to run and had no CPU; 0 if not known."""

    def thread_waits(self) -> int | None:
        """Return how often the calling thread has gone to wait for something so far; None where that is not known."""

    def pause(self, stop: threading.Lock, seconds: float) -> bool:
        """Wait for exactly `seconds`, or less if `stop` can be acquired meanwhile; return whether it was."""


class MemoryLimit(Protocol):
    """A limit of this process's memory, that can be put up and taken away; each raises OSError if it is refused."""

    def hold(self, limit: int) -> None:
        """Put it in force, in bytes, unless a stricter one is."""

    def lift(self) -> None:
        """Put back what was in force before."""

    def in_force(self) -> bool:
        """Return whether the system says that what was put up last is."""


class ExitTrap(Protocol):
    """Ends this process at once if compiled code calls the C library's ``exit`` while a task runs.

    Its handlers are for the end of a process: in the midst of one they may wait for ever.
    """

    def lay(self) -> None:
        """Come before all handlers that there are so far."""

    def set(self) -> None:
        """Do so from now on; the calling thread is the main thread."""

    def unset(self) -> None:
        """Let it come to its end as usual."""


class Memory(Protocol):
    """How much memory there is, who has it, and how it is limited."""

    def total(self) -> int:
        """Return how many bytes of memory this process may use at all, those of others included."""

    def limit_of_groups(self) -> int | None:
        """Return how many of them the control groups of this process leave it; None: all that the machine has."""

    def in_use(self) -> int:
        """Return how many bytes this process has, as a `MemoryLimit` counts them."""

    def unused(self) -> int:
        """Return how many of these bytes this process has reserved and not touched."""

    def stack_size(self) -> int:
        """Return how many bytes the stack of a new thread has, as a `MemoryLimit` counts it before it is touched."""

    def open_exit_trap(self) -> ExitTrap:
        """Make a trap for this process."""

    def is_trapped(self, exitcode: int) -> bool:
        """Return whether a process has ended in such a trap, by :attr:`multiprocessing.Process.exitcode`."""

    def open_limit(self) -> MemoryLimit:
        """Make a limit for this process; OSError where the system has none."""

    def count_oom_kills(self) -> int | None:
        """Return how many processes the system has killed so far for want of memory; None where that is not known."""

    def loaded_libraries(self, pid: int) -> set[str]:
        """Return the file names of what a process has mapped; empty where that is not known."""


class Keeper(Protocol):
    """Looks after a group and its workers."""

    @property
    def registry(self) -> Any:
        """What a worker needs to register. It can be pickled while the process starts."""

    def start(self) -> None:
        """Make the group, before the first worker starts, and later do nothing."""

    def close(self) -> None:
        """Remove the group, after the last worker has ended."""


class Groups(Protocol):
    """Task groups: where a low level counts."""

    def find(self) -> Group | Shortfall | None:
        """Return where a low level counts against all programs; or why there is no such place; or None: everywhere."""

    def join(self, group: Group, registry: Any) -> Shortfall | None:
        """Move this worker to a group, and register it with the group's keeper."""

    def enter(self) -> Shortfall | None:
        """Move this process where a low level counts, for good and with no keeper, unless that is everywhere."""

    def open_keeper(self, context: BaseContext, group: Group) -> Keeper:
        """Make the keeper of a group that `find` has found."""


class Segment(Protocol):
    """Memory that can be mapped. Whoever made or opened one closes it, at the latest by forgetting it."""

    @property
    def address(self) -> Any:
        """What other processes open it by, while it is open here; it can be pickled."""

    def write(self, data: memoryview, offset: int) -> None:
        """Copy bytes there, without the GIL; an OSError says that there is no memory for them."""

    def read_into(self, target: memoryview, offset: int) -> None:
        """Copy bytes from there, without the GIL."""

    def view(self, start: int, stop: int) -> memoryview:
        """Map a part: writable, and what is written stays here. The memory goes with the last view of it."""

    def close(self) -> None:
        """Let it go; views of it stay."""


class Sender(Protocol):
    """A worker's end of an `Exchange`. It can be pickled while a process starts."""

    def send(self, segment: Any) -> Any:
        """Hand a segment over, and return the ticket that the parent gets it by. It is closed here.

        OSError if that cannot be done now, a ConnectionError if never again.
        """

    def ask(self, address: Any, put: Callable[[Any, Any], None]) -> "Segment":
        """Get from the parent what cannot be opened here; OSError if that gives nothing.

        `put` sends it the address, and what its `Exchange.answer` is to be called with.
        """


class Exchange(Protocol):
    """Where the workers of one pool hand over to their parent: a segment belongs to one of them at any time."""

    @property
    def sender(self) -> Sender:
        """The workers' end."""

    def take(self, ticket: Any) -> Segment:
        """Return what a worker has handed over."""

    def answer(self, address: Any, reply_to: Any) -> None:
        """Let a worker have what it asks for, if it still exists."""

    def close(self) -> None:
        """Let go whatever nobody has taken."""


class SharedMemory(Protocol):
    """What a system offers to hand large buffers over."""

    def create(self, size: int) -> Segment:
        """Return a new segment of so many bytes; OSError if there is none to be had."""

    def open(self, address: Any) -> Segment:
        """Return a segment of another process."""

    def exchange(self) -> Exchange:
        """Return a new exchange."""


class Sharing(Protocol):
    """Memory that one process fills and another one maps."""

    def find_shared_memory(self) -> SharedMemory | None:
        """Return what this system offers to hand large buffers over; None: nothing that leaves nothing behind."""


class Command(Protocol):
    """Running a command at a level, which is given by its name in lower case."""

    def is_program(self, path: str) -> bool:
        """Return whether the system runs a file by itself, as opposed to Python's scripts."""

    def lower_early(self, level: str) -> bool:
        """Put this process at a level without importing much, while it has one thread and nothing of it is lower.

        Returns whether the level is in force, I/O included. Otherwise `Priority.set_process` is to set it, or to say
        why it cannot be had.
        """

    def become(self, command: list[str], level: str, *, efficiency: bool) -> int:
        """Run `command` in place of this process, which is at `level`; return its exit status where that returns.

        OSError if it cannot be run, PriorityError if it may not be run this way.
        """


class Survey(Protocol):
    """What a machine says of itself, for ``nicefutures doctor``."""

    def sessions_are_groups(self) -> bool:
        """Return whether a level may count inside a process's own session only."""

    def describe_machine(self) -> dict[str, Any]:
        """Return what the machine offers, None for what it does not tell; it never raises."""
