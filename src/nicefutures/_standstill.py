"""Stops processes and their descendants, and continues them."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import psutil

from ._originals import now
from ._system import backend
from ._system.protocols import StoppedGuard

# Seconds within which stopped processes must stand still; one in a system call may take longer.
_PATIENCE: Final = 1.0
# Seconds between two checks of the processes.
_STEP: Final = 0.002
# Number of checks in a row that must find no running process: the second one finds processes started during the first.
_QUIET_LOOKS: Final = 2
_STOPPED: Final = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class Standstill:
    """Stops processes and their descendants, and continues only processes that it has stopped.

    If this process ends first, in any way, the processes continue or end: no process stays stopped, except without
    `guards`. `keep` and `close` are called with the end of a pipe that no child may have: when it has been opened,
    and to close it.
    """

    def __init__(self, keep: Callable[[Any], None], close: Callable[[Any], None], *, guards: bool = True) -> None:
        self.denied: set[psutil.Process] = set()  # the processes that this process may not stop
        self._keep, self._close = keep, close
        self._guards = guards
        self._guard: StoppedGuard | None = None
        self._stopped: dict[psutil.Process, int] = {}  # each with the root of its tree

    def stop(self, roots: Iterable[int]) -> bool:
        """Stop trees of processes, by the ids of their roots; return whether all that may be stopped stand still.

        Processes that another program has continued are stopped again. Processes that another program has stopped are
        left alone.
        """
        waiting = set(roots)
        for root in waiting:  # first, so that it starts no more processes
            with contextlib.suppress(psutil.Error, OSError):
                self._stop(psutil.Process(root), root)
        deadline = now() + _PATIENCE
        quiet = 0 if waiting else _QUIET_LOOKS
        while quiet < _QUIET_LOOKS:
            running = [(process, root) for process, root in _list_below(waiting) if self._runs(process)]
            for process, root in running:
                self._stop(process, root)
            quiet = 0 if running else quiet + 1
            if running and now() > deadline:
                return False
            time.sleep(_STEP)
        return True

    @property
    def is_disturbed(self) -> bool:
        """Whether another program has continued a stopped process."""
        return any(map(self._runs, list(self._stopped)))

    def resume(self, still: Iterable[int] = ()) -> None:
        """Continue all trees except `still`, by the ids of their roots."""
        kept = set(still)
        resumed = [process for process, root in self._stopped.items() if root not in kept]
        for process in resumed:
            with contextlib.suppress(psutil.Error, OSError):  # it has ended
                process.resume()
            del self._stopped[process]
        if self._guard is None:
            return
        if self._stopped:
            for process in resumed:
                self._guard.remove(process.pid)
        else:
            guard, self._guard = self._guard, None
            guard.close()
            if guard.end is not None:
                self._close(guard.end)

    def _open_guard(self) -> StoppedGuard | None:
        if self._guard is None and self._guards:
            self._guard = backend.guard.Guard()
            if self._guard.end is not None:
                self._keep(self._guard.end)
        return self._guard

    def _stop(self, process: psutil.Process, root: int) -> None:
        guard = self._open_guard()
        with contextlib.suppress(psutil.Error, OSError):  # it has ended, or belongs to another user
            if (backend.guard.SUSPENDS_COUNT and process in self._stopped) or process.status() in _STOPPED:
                return
            if guard is not None and process not in self._stopped:
                guard.add(process.pid)
            self._stopped[process] = root  # first, so that after an interrupt here it is still continued
            try:
                process.suspend()
            except psutil.AccessDenied:
                del self._stopped[process]
                self.denied.add(process)
                if guard is not None:
                    guard.remove(process.pid)

    def _runs(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error, OSError):  # it has ended, or there are no more files to look with
            if backend.guard.SUSPENDS_COUNT and process in self._stopped:
                return False
            status = process.status()
            if status in _STOPPED or process in self.denied:
                return False
            # In a system call, a process stops only at the end of the call: in vfork, when its child continues.
            return status != psutil.STATUS_DISK_SLEEP or process not in self._stopped
        return False


def _list_below(roots: set[int]) -> list[tuple[psutil.Process, int]]:
    """Return the processes of these trees, each with its root."""
    found = []
    root_of = dict.fromkeys([os.getpid()])
    for process in _descendants(os.getpid()):  # one list for all workers; parents come before their children
        with contextlib.suppress(psutil.Error, OSError):
            root = root_of[process.pid] = process.pid if process.pid in roots else root_of.get(process.ppid())
            if root is not None:
                found.append((process, root))
    for root in roots:
        if root not in root_of:
            with contextlib.suppress(psutil.Error, OSError):
                found += [(process, root) for process in (psutil.Process(root), *_descendants(root))]
        for pid in backend.groups.members(root):  # also processes that have left the tree
            with contextlib.suppress(psutil.Error):
                if pid not in root_of:
                    found.append((psutil.Process(pid), root))
    return found


def _descendants(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error, OSError):  # it has ended, or a sandbox forbids reads
        return psutil.Process(pid).children(recursive=True)
    return []
