"""The thread that watches how long it has to wait for the GIL, for all pools of the process.

It sleeps when no task runs. A late wake-up may be the CPU's fault: Linux tells how long a thread was ready to run and
did not, and that is subtracted.
"""

import math
import threading
import time
from collections import deque
from typing import Final, Protocol

from .._system import backend
from .blame import Blame, Wait
from .regulator import PERIOD_S, Look, Regulator

_PERIOD_NS: Final = round(PERIOD_S * 1e9)
# Beats of half a period when tasks begin, to know soon what they are like.
_FIRST_BEATS: Final = 30
# A beat costs up to 0.3 ms of CPU time, for who waits for the GIL wakes up every switch interval. Then they come less
# often, so that they use no more than this share of a core, if they do not become too rare.
_OWN_SHARE: Final = 0.008
_LONGEST_PERIOD_NS: Final = 50_000_000
# Beats from one look at the threads to the next.
_BEATS_PER_LOOK: Final = 3
# Beats without a task after which the watch sleeps.
_PATIENCE_BEATS: Final = 5


class Owner(Protocol):
    """Who has the thread; see :class:`nicefutures._threads.controller.Controller`."""

    regulators: list[Regulator]
    waits_s: deque[float]

    def rest(self, watcher: "Watcher") -> None:
        """Take notice that no task runs."""

    def shorten_interval(self, watcher: "Watcher") -> None:
        """Make the switch interval as short as the pools at work need it."""


class Watcher(threading.Thread):
    """The thread that watches."""

    def __init__(self, controller: Owner) -> None:
        # Daemonic: at the interpreter's exit the pools end first, and with the last of them this thread.
        super().__init__(name="nicefutures-controller", daemon=True)
        self._work = threading.Event()
        self._woken_at = 0
        self._controller = controller
        self._stopping = threading.Lock()
        self._stopping.acquire()
        self._stopped = False
        self._looked_at = 0
        self._used_at_look: dict[int, int] = {}
        self._blame = Blame(controller, self)

    def wake(self) -> None:
        """Let the thread look, from what the threads have done so far: the task that begins now may take the GIL."""
        self._woken_at = self._looked_at = time.perf_counter_ns()
        self._used_at_look = self._blame.read_used()
        self._blame.begin(self._used_at_look)
        self._work.set()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped = True
        self._stopping.release()
        self._work.set()

    def run(self) -> None:
        """Watch while tasks run."""
        while not self._stopped:
            times, used_ns = backend.accounting.thread_waits(), time.thread_time_ns()
            self._work.wait()
            self._watch(times, used_ns)
            self._work.clear()
            self._controller.rest(self)
            # A task that began before that line did not call `wake`.
            if self._busy():
                self.wake()

    def _busy(self) -> list[Regulator]:
        return [regulator for regulator in list(self._controller.regulators) if regulator.gate.running]

    def _watch(self, times: int | None, used: int) -> None:
        """Beat until no task has run for a while.

        `times` and `used` are how often this thread had waited before it was woken, and its CPU time, in ns.
        """
        quiet = beats = cost = 0
        pause, thread_waits = backend.accounting.pause, backend.accounting.thread_waits
        with backend.accounting.cpu_delay() as delay:
            # The first beat is due at once: the task that woke this thread may have taken the GIL before it got there.
            period, last, delayed = 0, self._woken_at, delay()
            while quiet < _PATIENCE_BEATS:
                # From the last beat on, whatever this thread has done since, so that no stall falls in between.
                due = last + period
                if pause(self._stopping, max(due - time.perf_counter_ns(), 0) / 1e9):
                    return
                # All counters at the same time: what follows gives the GIL away, and may wait for it.
                last, now_times, now_used = time.perf_counter_ns(), thread_waits(), time.thread_time_ns()
                now_delayed = delay()
                # That this thread had no CPU is not the fault of who has the GIL.
                waited = max(last - due - (now_delayed - delayed), 0)
                tried = None if now_times is None or times is None else now_times - times
                own = now_used - used
                times, used, delayed = now_times, now_used, now_delayed
                busy = self._busy()
                self._beat(busy, Wait(waited, period, own, tried))
                if beats % _BEATS_PER_LOOK == 0 or last - due > _BEATS_PER_LOOK * _PERIOD_NS:
                    self._look()
                    self._controller.shorten_interval(self)
                quiet = 0 if busy else quiet + 1
                beats += 1
                cost += (own - cost) // 8
                period = min(max(_PERIOD_NS, round(cost / _OWN_SHARE)), _LONGEST_PERIOD_NS)
                if beats < _FIRST_BEATS:
                    period = _PERIOD_NS // 2

    def _beat(self, busy: list[Regulator], wait: Wait) -> None:
        """Take note of a wait for the GIL."""
        self._blame.close_cases()
        if wait.seconds >= min((regulator.stall_s for regulator in self._controller.regulators), default=math.inf):
            self._blame.find_culprit(wait)
        if busy:
            self._controller.waits_s.append(wait.seconds)
            for regulator in busy:
                regulator.beat(wait.seconds)
            self._blame.remember([worker for regulator in busy for worker in regulator.gate.running])

    def _look(self) -> None:
        before, since = self._used_at_look, self._looked_at
        self._looked_at = time.perf_counter_ns()
        self._used_at_look = self._blame.read_used()
        self._blame.update(self._used_at_look)
        used = {tid: now - before.get(tid, now) for tid, now in self._used_at_look.items()}
        for regulator in list(self._controller.regulators):
            regulator.look(Look(since, self._looked_at - since, used))
