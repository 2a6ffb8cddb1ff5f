"""Prevents low-priority tasks from starving the event loop that shares the GIL with them.

If a thread holds the GIL and gets no CPU, the event loop waits (priority inversion): for seconds at SCHED_IDLE on
Linux, if other programs are busy. While the loop waits, it cannot react. So tasks that hold the GIL run at
BELOW_NORMAL. The guard recognizes them by the time that the loop waits for the GIL while they run.
"""

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from tornado.ioloop import IOLoop

from .._system import backend

# Seconds between two looks.
_PERIOD_S: Final = 0.05
# Number of looks for one decision: 2 s.
_LOOKS: Final = 40
# If the loop waits for so long while the process uses less than this share of a CPU, the GIL's holder gets no CPU.
_STARVED_S: Final = 0.1
_STARVED_SHARE: Final = 0.5
# Mean waits in switch intervals: at least 1 while a thread runs Python code. A timer is always a little late.
_KEPT: Final = 0.5
_RELEASED: Final = 0.3


class GilGuard:
    """Measures, in an event loop's thread, how long the loop waits for the GIL.

    `is_busy` returns whether tasks run. `at_change` is called with each new value of `lifted`.
    """

    def __init__(self, loop: IOLoop, is_busy: Callable[[], object], at_change: Callable[[bool], None]) -> None:
        # Tasks should run at BELOW_NORMAL: they hold the GIL, or that is unknown and all CPUs are busy.
        self.lifted = False
        self._loop = loop
        self._is_busy = is_busy
        self._at_change = at_change
        self._waits: deque[float] = deque(maxlen=_LOOKS)
        # Number of other threads that wanted a CPU while no task ran.
        self._others: deque[int] = deque(maxlen=_LOOKS)
        self._resources = contextlib.ExitStack()
        self._delay = self._resources.enter_context(backend.accounting.cpu_delay())
        self._next: Any = None
        self._plan()

    def stop(self) -> None:
        """Stop watching."""
        self._loop.remove_timeout(self._next)
        self._resources.close()

    def _plan(self) -> None:
        self._due = time.perf_counter() + _PERIOD_S
        self._used_ns = time.thread_time_ns() + self._delay()
        self._process_ns = time.process_time_ns()
        self._next = self._loop.call_later(_PERIOD_S, self._look)

    def _look(self) -> None:
        late = time.perf_counter() - self._due
        # Time in which the loop computed or had no CPU is not a wait for the GIL.
        wait = max(late - (time.thread_time_ns() + self._delay() - self._used_ns) / 1e9, 0.0)
        if self._is_busy():
            self._others.clear()
            process_s = (time.process_time_ns() - self._process_ns) / 1e9
            self._judge(wait, starved=wait >= _STARVED_S and process_s < _STARVED_SHARE * (_PERIOD_S + late))
        else:
            self._look_at_others()
        self._plan()

    def _judge(self, wait: float, *, starved: bool) -> None:
        if starved:
            self._set(lifted=True)  # until it is known whether the tasks hold the GIL
            return
        self._waits.append(wait)
        if len(self._waits) == _LOOKS:
            mean = sum(self._waits) / _LOOKS / sys.getswitchinterval()
            if mean >= _KEPT:
                self._set(lifted=True)
            elif mean <= _RELEASED:
                self._set(lifted=False)

    def _look_at_others(self) -> None:
        """While no task runs: lift the next tasks if other programs keep all CPUs busy."""
        ready = backend.accounting.count_ready()
        self._others.append(ready - 1 if ready is not None else 0)  # this thread is one of them
        if len(self._others) == _LOOKS:
            self._waits.clear()
            self._set(lifted=sum(self._others) / _LOOKS > (os.cpu_count() or 1))

    def _set(self, *, lifted: bool) -> None:
        if lifted != self.lifted:
            self._waits.clear()
            self.lifted = lifted
            self._at_change(lifted)
