"""The operating system, behind one set of functions.

This is the only place that asks which system it is. Each backend is a module with the functions of :class:`Backend`;
`backend` is the one for this machine.
"""

import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol

from .._priority import ProcessPriority, Shortfall, ThreadPriority
from ._common import ProcessDescription


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

    def get_thread(self) -> ThreadPriority:
        """Return the level that is nearest to what is in force for the calling thread."""

    def save_thread(self) -> Any:
        """Return what `restore_thread` needs to put the calling thread back, exactly."""

    def restore_thread(self, saved: Any) -> Shortfall | None:
        """Put the calling thread back; returns what could not be."""

    def release_thread(self) -> None:
        """Prepare the calling thread for its end."""

    def cpu_delay(self) -> contextlib.AbstractContextManager[Callable[[], int]]:
        """Give a function that tells how long, in ns, the calling thread has been ready to run and had no CPU so far.

        It tells always the same where the system does not know.
        """

    def thread_cpu_time(self, tid: int) -> int | None:
        """Return the CPU time that a thread of this process has used, in the unit of the system.

        None if that is not known, or there is no such thread any more.
        """

    def is_ready(self, tid: int) -> bool:
        """Return whether a thread of this process runs or waits for a CPU; False where that is not known."""

    def pause(self, stop: threading.Lock, seconds: float) -> bool:
        """Wait for exactly `seconds`, or less if `stop` can be acquired meanwhile; return whether it was."""

    def describe(self, pid: int | None = None) -> ProcessDescription:
        """Return all that is known of the process's scheduling."""

    def become(self, command: list[str], priority: ProcessPriority) -> int:
        """Run `command` in place of this process, which is at `priority`; return its exit status where that returns."""


backend: Backend

if sys.platform == "win32":
    from . import _windows

    backend = _windows
elif sys.platform == "linux":
    from . import _linux

    backend = _linux
elif sys.platform == "darwin":
    from . import _macos

    backend = _macos
else:
    from . import _posix

    backend = _posix
