"""Keeps tasks at a low level from starving the event loop that shares the GIL with them.

A thread that holds the GIL and gets no CPU keeps the event loop waiting, for seconds at SCHED_IDLE beside busy programs
on Linux: priority inversion. Nobody can help the loop while it waits. So tasks that keep the GIL run at BELOW_NORMAL,
and what they are like is told by how long the loop has to wait for the GIL while they run.
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

# From one look to the next, in s.
_PERIOD_S: Final = 0.05
# Looks that a judgement is made of: 2 s.
_LOOKS: Final = 40
# A wait of so many seconds, in which this process used so little of one CPU: who has the GIL has no CPU.
_STARVED_S: Final = 0.1
_STARVED_SHARE: Final = 0.5
# Mean waits in switch intervals. Beside a thread that runs Python code it is 1 or more; a timer is late by itself.
_KEPT: Final = 0.5
_RELEASED: Final = 0.3


class GilGuard:
    """Watches, in an event loop's thread, how long the loop waits for the GIL.

    Parameters
    ----------
    loop : IOLoop
        The loop.
    is_busy : callable
        Tells whether tasks run.
    at_change : callable
        Called with what `lifted` has become.

    Attributes
    ----------
    lifted : bool
        Whether tasks shall run at BELOW_NORMAL: they keep the GIL, or nothing is known of them on a full machine.
    """

    def __init__(self, loop: IOLoop, is_busy: Callable[[], object], at_change: Callable[[bool], None]) -> None:
        self.lifted = False
        self._loop = loop
        self._is_busy = is_busy
        self._at_change = at_change
        self._waits: deque[float] = deque(maxlen=_LOOKS)
        # How many threads of others wanted a CPU while no task ran.
        self._others: deque[int] = deque(maxlen=_LOOKS)
        self._resources = contextlib.ExitStack()
        self._delay = self._resources.enter_context(backend.accounting.cpu_delay())
        self._next: Any = None
        self._plan()

    def stop(self) -> None:
        """Watch no more."""
        self._loop.remove_timeout(self._next)
        self._resources.close()

    def _plan(self) -> None:
        self._due = time.perf_counter() + _PERIOD_S
        self._used_ns = time.thread_time_ns() + self._delay()
        self._process_ns = time.process_time_ns()
        self._next = self._loop.call_later(_PERIOD_S, self._look)

    def _look(self) -> None:
        late = time.perf_counter() - self._due
        # What the loop did itself, and that it had no CPU, is no wait for the GIL.
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
            self._set(lifted=True)  # for as long as it takes to find out what the tasks are like
            return
        self._waits.append(wait)
        if len(self._waits) == _LOOKS:
            mean = sum(self._waits) / _LOOKS / sys.getswitchinterval()
            if mean >= _KEPT:
                self._set(lifted=True)
            elif mean <= _RELEASED:
                self._set(lifted=False)

    def _look_at_others(self) -> None:
        """Without tasks: be careful with the next ones if others keep the machine full."""
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
