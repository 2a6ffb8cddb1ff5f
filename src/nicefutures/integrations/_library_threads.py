"""The level of the threads that BLAS and OpenMP libraries compute with, and that are the whole process's."""

import functools
import threading
from collections.abc import Callable
from typing import Any, Final

from .._levels import Shortfall, ThreadPriority
from .._system import backend


class LibraryThreads:
    """Keeps the libraries' threads at a level, for as long as anybody holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[ThreadPriority] = []
        # By thread id: what the thread had.
        self._saved: dict[int, Any] = {}

    def hold(self, priority: ThreadPriority) -> Callable[[], Shortfall | None]:
        """Put the threads at a level; of several the lowest counts.

        Returns
        -------
        callable
            Gives it up, the first time that it is called. With the last one the threads are put back; it returns what
            could not be.
        """
        with self._lock:
            first = not self._held
            self._held.append(priority)
            self._apply(inherited=not first)
        return functools.partial(self._release, [priority])

    def apply(self) -> None:
        """Put those there that have been started since."""
        with self._lock:
            if self._held:
                self._apply(inherited=True)

    def _release(self, held: list[ThreadPriority]) -> Shortfall | None:
        with self._lock:
            if not held:
                return None
            self._apply(inherited=True)
            self._held.remove(held.pop())
            if self._held:
                self._apply(inherited=True)
                return None
            saved, self._saved = self._saved, {}
            return backend.threads.restore_levels(saved)

    def _apply(self, *, inherited: bool) -> None:
        """Put all threads at the lowest level that is held.

        Parameters
        ----------
        inherited : bool
            Whether a thread that is there already has it from the thread that started it, which had been lowered.
        """
        tids = backend.threads.of_libraries()
        if not tids:
            return
        self._saved = {tid: saved for tid, saved in self._saved.items() if tid in tids}
        fresh = [tid for tid in tids if tid not in self._saved]
        levels = backend.threads.get_levels(tids)
        lowest = min(self._held)
        main = threading.main_thread().native_id
        before = backend.threads.save_levels([*fresh, main] if main is not None else fresh)
        for tid in fresh:
            source = main if inherited and levels.get(tid) == lowest and main in before else tid
            if source in before:
                self._saved[tid] = before[source]
        backend.threads.set_levels([tid for tid, level in levels.items() if level != lowest], lowest)


library_threads: Final = LibraryThreads()
