"""Has the thread that watches for all pools of the process, and the interpreter's switch interval."""

import atexit
import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from .gil import SwitchInterval
from .regulator import Regulator
from .watcher import Watcher

# How many of the last beats the statistics are of: 5 s.
_REMEMBERED_BEATS: Final = 250


class Controller:
    """Has one thread that watches for all pools of the process, from the first task to some time after the last pool.

    Attributes
    ----------
    awake : bool
        Whether a task that begins is noticed. If not, `wake` has to be called when one has been submitted.
    interval : SwitchInterval
        The interpreter's.
    waits_s : deque of float
        How long the last beats had to wait for the GIL, in s.
    regulators : list of Regulator
        Those of the pools that have workers.
    watcher : Watcher or None
        That thread.
    """

    def __init__(self) -> None:
        self._is_set_up = False
        self._reset()

    def _reset(self) -> None:
        self.awake = False
        self.interval = SwitchInterval()
        self.waits_s: deque[float] = deque(maxlen=_REMEMBERED_BEATS)
        self.regulators: list[Regulator] = []
        self.watcher: Watcher | None = None
        # Reentrant, for the garbage collector may end a pool anywhere.
        self._lock = threading.RLock()

    # --- for who submits tasks

    def wake(self) -> None:
        """Look, for there is a task. No lock is taken but to start the thread: who submits may hold the executor's."""
        self.awake = True
        watcher = self.watcher or self._start()
        if watcher is None:
            self.awake = False
        else:
            watcher.wake()

    # --- for the workers

    def add(self, regulator: Regulator) -> None:
        """Watch for a pool."""
        with self._lock:
            self.regulators.append(regulator)
        if not self.awake and self.watcher is not None:  # a worker is not to start it: it would hand its level on
            self.wake()

    def end_soon(self) -> None:
        """Let the thread look whether pools have no workers any more. No lock is taken."""
        watcher = self.watcher
        if watcher is not None and not self.awake:
            watcher.reconsider()

    def remove(self, regulator: Regulator) -> None:
        """Watch no more for a pool; after the last one, the switch interval is what it was."""
        with self._lock:
            self.regulators.remove(regulator)
            if not self.regulators:
                self.interval.put_back()
                if self.watcher is not None and not self.awake:
                    self.watcher.reconsider()

    # --- for the thread

    def prune(self) -> list[Regulator]:
        """Return the pools that have workers; let those go that have none any more."""
        for regulator in list(self.regulators):
            if regulator.gate.ends:
                regulator.gate.prune()
        return list(self.regulators)

    def rest(self) -> None:
        """Let tasks that begin call `wake`, and the switch interval be what it was."""
        with self._lock:
            self.awake = False
            self.interval.put_back()
        # A task that was submitted before that line did not call `wake`.
        pools = self.prune()
        for regulator in pools:
            regulator.gate.unpark()
        if not all(regulator.gate.empty() for regulator in pools):
            self.wake()

    def gone(self, watcher: Watcher) -> bool:
        """Let the thread end if there is nothing to watch."""
        with self._lock:
            self.watcher = None
            # Whoever calls `wake` before that line has said so, and after it waits for this lock.
            if self.regulators or self.awake:
                self.watcher = watcher
            return self.watcher is None

    def set_interval(self, busy: Sequence[Regulator]) -> None:
        """Make the switch interval as short as the most demanding of the pools at work needs it."""
        wanted = [interval_s for regulator in busy if (interval_s := regulator.interval_s) is not None]
        with self._lock:
            if wanted and self.regulators:
                self.interval.shorten(min(wanted))
            else:
                self.interval.put_back()

    # --- the life of the thread

    def _start(self) -> Watcher | None:
        """Start it unless it is there, and return it if it is."""
        try:
            threading.Thread(daemon=True)
        except RuntimeError:  # a subinterpreter, in which no thread may be left over
            return None
        new = Watcher(self)
        with self._lock:
            if self.watcher is not None:
                return self.watcher
            self.watcher = new
        if not self._is_set_up:
            self._is_set_up = True
            atexit.register(self._stop)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)
        try:
            new.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self.watcher = None
            for regulator in list(self.regulators):
                regulator.open()
        return self.watcher

    def _stop(self) -> None:
        with self._lock:
            watcher, self.watcher = self.watcher, None
            self.awake = False
        if watcher is not None and not sys.is_finalizing():
            watcher.stop()

    def _before_fork(self) -> None:
        """Without a pool there is no other thread: nobody shall be warned of one, and the child not lack it."""
        if self.watcher is not None and not self.regulators and threading.get_native_id() != self.watcher.tid:
            self._stop()

    def _after_fork(self) -> None:
        """In the child there is neither a worker nor a thread that watches."""
        regulators = self.regulators
        self.interval.put_back()
        self._reset()
        for regulator in regulators:
            regulator.reset_after_fork()


controller: Final = Controller()
