"""Has the thread that watches for all pools of the process, and the interpreter's switch interval."""

import os
import threading
from collections import deque
from typing import Final

from .gil import SwitchInterval
from .regulator import Regulator
from .watcher import Watcher

# How many of the last beats the statistics are of: 5 s.
_REMEMBERED_BEATS: Final = 250


class Controller:
    """Has one thread that watches for all pools of the process, from the first task to the end of the last pool.

    Attributes
    ----------
    awake : bool
        Whether that thread looks. If not, `wake` has to be called when a task begins.
    interval : SwitchInterval
        The interpreter's.
    waits_s : deque of float
        How long the last beats had to wait for the GIL, in s.
    regulators : list of Regulator
        Those of the pools that have workers.
    """

    def __init__(self) -> None:
        self._survives_fork = False
        self._reset()

    def _reset(self) -> None:
        self.awake = False
        self.interval = SwitchInterval()
        self.waits_s: deque[float] = deque(maxlen=_REMEMBERED_BEATS)
        self.regulators: list[Regulator] = []
        # Reentrant, for the garbage collector may end a pool anywhere.
        self._lock = threading.RLock()
        self._watcher: Watcher | None = None
        self._ending: Watcher | None = None

    # --- for who submits tasks

    def start(self) -> None:
        """Start the thread, unless there is one. It inherits the level of the caller, which should be no worker."""
        if self._watcher is None:
            with self._lock:
                self._start()

    def end(self) -> None:
        """End the thread if there is no worker of any pool, and wait for that."""
        with self._lock:
            self._end_if_unused()
            watcher, self._ending = self._ending, None
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()

    # --- for the workers

    def add(self, regulator: Regulator) -> None:
        """Watch for a pool."""
        with self._lock:
            self.regulators.append(regulator)

    def remove(self, regulator: Regulator) -> None:
        """Watch no more for a pool; after the last one, the switch interval is what it was and the thread ends."""
        with self._lock:
            self.regulators.remove(regulator)
            self._end_if_unused()

    def wake(self) -> None:
        """Look, for there is a task."""
        with self._lock:
            if not self.awake:
                self._start()
                self.awake = True
                if self._watcher is not None:
                    self._watcher.wake()

    # --- for the thread

    def rest(self, watcher: "Watcher") -> None:
        """Let tasks that begin call `wake`, and the switch interval be what it was."""
        with self._lock:
            if watcher is self._watcher:
                self.awake = False
                self.interval.put_back()

    def shorten_interval(self, watcher: "Watcher") -> None:
        """Make the switch interval as short as the most demanding of the pools at work needs it."""
        with self._lock:
            busy = [regulator.interval_s for regulator in self.regulators if regulator.gate.running]
            if busy and watcher is self._watcher:
                self.interval.shorten(min(busy))

    # --- with the lock held

    def _start(self) -> None:
        if self._watcher is not None:
            return
        if not self._survives_fork and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)
            self._survives_fork = True
        watcher = Watcher(self)
        try:
            watcher.start()
        except RuntimeError:  # no more threads, none that are daemonic, or the interpreter ends
            for regulator in self.regulators:
                regulator.open()
        else:
            self._watcher = watcher

    def _end_if_unused(self) -> None:
        if not self.regulators:
            self.interval.put_back()
            self.awake = False
            if self._watcher is not None:
                self._watcher.stop()
                self._ending, self._watcher = self._watcher, None

    def _after_fork(self) -> None:
        """In the child there is neither a pool nor a thread that watches."""
        self.interval.put_back()
        self._reset()


controller: Final = Controller()
