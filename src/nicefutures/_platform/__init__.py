"""The operating system, behind one set of functions.

This is the only place that asks which system it is. Each backend is a module with the functions of :class:`Backend`;
`backend` is the one for this machine.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, Protocol

from .._priority import ProcessPriority, Shortfall, ThreadPriority
from ._common import Group, ProcessDescription

if TYPE_CHECKING:
    from ._sharing import SharedMemory


class MemoryLimit(Protocol):
    """A limit of this process's memory, that can be put up and taken away; each raises OSError if it is refused."""

    def hold(self, limit: int) -> None:
        """Put it in force, in bytes, unless a stricter one is."""

    def lift(self) -> None:
        """Put back what was in force before."""

    def in_force(self) -> bool:
        """Return whether the system says that what was put up last is."""


class Keeper(Protocol):
    """Looks after a group and its workers."""

    @property
    def registry(self) -> Any:
        """What a worker needs to register. It can be pickled while the process starts."""

    def start(self) -> None:
        """Make the group, before the first worker starts, and later do nothing."""

    def close(self) -> None:
        """Remove the group, after the last worker has ended."""


class Backend(Protocol):
    """What every platform module offers. `pid` None is the calling process."""

    def set_process(self, priority: ProcessPriority, pid: int | None = None) -> Shortfall | None:
        """Put every thread of the process at `priority`.

        Returns None if that level is now in force, or what is missing if a lower level than before, though not the
        one asked for, is. Raises PriorityError if the process did not get there.
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

    def release_thread(self) -> None:
        """Prepare the calling thread for its end."""

    def count_ready(self) -> int | None:
        """Return how many threads of the whole machine run or wait for a CPU; None where that is not known."""

    def library_threads(self) -> list[int]:
        """Return the threads of this process that libraries have started to compute with; empty where not known."""

    def get_threads(self, tids: Iterable[int]) -> dict[int, ThreadPriority]:
        """Return the level of each of these threads of this process that there is."""

    def save_threads(self, tids: Iterable[int]) -> dict[int, Any]:
        """Return what `restore_threads` needs to put these threads of this process back, exactly."""

    def set_threads(self, tids: Iterable[int], priority: ThreadPriority) -> None:
        """Put threads of this process at `priority`, as far as the system lets one thread do that to another."""

    def restore_threads(self, saved: dict[int, Any]) -> Shortfall | None:
        """Put threads of this process back; returns what could not be."""

    def cpu_delay(self) -> contextlib.AbstractContextManager[Callable[[], int]]:
        """Give a function that tells how long, in ns, the calling thread has been ready to run and had no CPU so far.

        It tells always the same where the system does not know.
        """

    def thread_cpu_time(self, tid: int) -> int | None:
        """Return the CPU time that a thread of this process has used, in the unit of the system.

        None if that is not known, or there is no such thread any more.
        """

    def thread_waits(self) -> int | None:
        """Return how often the calling thread has gone to wait for something so far; None where that is not known."""

    def is_ready(self, tid: int) -> bool:
        """Return whether a thread of this process runs or waits for a CPU; False where that is not known."""

    def pause(self, stop: threading.Lock, seconds: float) -> bool:
        """Wait for exactly `seconds`, or less if `stop` can be acquired meanwhile; return whether it was."""

    def set_background(self, priority: ProcessPriority) -> Shortfall | None:
        """Set what goes with a level in a worker besides the CPU: I/O, and whose memory the system takes first.

        What the system does not have is no shortfall: the level alone was asked for.
        """

    def set_efficiency(self) -> Shortfall | None:
        """Keep this process to efficient cores and clocks, where the system has an interface for that."""

    def usable_cpus(self) -> float:
        """Return how many CPUs' time this process may use: its affinity and quotas count."""

    def total_memory(self) -> int:
        """Return how many bytes of memory this process may use at all, those of others included."""

    def memory_in_use(self) -> int:
        """Return how many bytes this process has, as a `MemoryLimit` counts them."""

    def open_memory_limit(self) -> MemoryLimit:
        """Make a limit for this process; OSError where the system has none."""

    def find_group(self) -> Group | Shortfall | None:
        """Return where a low level counts against all programs; or why there is no such place; or None: everywhere."""

    def join_group(self, group: Group, registry: Any) -> Shortfall | None:
        """Move this worker to a group, and register it with the group's keeper."""

    def open_keeper(self, context: BaseContext, group: Group) -> Keeper:
        """Make the keeper of a group that `find_group` has found."""

    def shared_memory(self) -> "SharedMemory | None":
        """Return what this system offers to hand large buffers over; None: nothing that leaves nothing behind."""

    def memory_unused(self) -> int:
        """Return how many of these bytes this process has reserved and not touched."""

    def loaded_libraries(self, pid: int) -> set[str]:
        """Return the file names of what a process has mapped; empty where that is not known."""

    def count_oom_kills(self) -> int | None:
        """Return how many processes the system has killed so far for want of memory; None where that is not known."""

    def describe(self, pid: int | None = None) -> ProcessDescription:
        """Return all that is known of the process's scheduling."""

    def become(self, command: list[str], priority: ProcessPriority) -> int:
        """Run `command` in place of this process, which is at `priority`; return its exit status where that returns."""


class Surveyor(Protocol):
    """What every survey module offers, for ``nicefutures doctor``."""

    def sessions_are_groups(self) -> bool:
        """Return whether a level may count inside a process's own session only."""

    def survey(self) -> dict[str, Any]:
        """Return what the machine offers, None for what it does not tell; it never raises."""


backend: Backend
surveyor: Surveyor

if sys.platform == "win32":
    from . import _windows, _windows_survey

    backend = _windows
    surveyor = _windows_survey
elif sys.platform == "linux":
    from . import _linux, _linux_survey

    backend = _linux
    surveyor = _linux_survey
elif sys.platform == "darwin":
    from . import _macos, _posix_survey

    backend = _macos
    surveyor = _posix_survey
else:
    from . import _posix, _posix_survey

    backend = _posix
    surveyor = _posix_survey
