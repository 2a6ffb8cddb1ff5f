"""The thread that watches how long it has to wait for the GIL, for all pools of the process.

It sleeps when no task runs. A late wake-up may be the CPU's fault: Linux tells how long a thread was ready to run and
did not, and that is subtracted.
"""

import _thread
import contextlib
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from .._system import backend
from . import cpu_time
from .blame import Blame, Wait
from .gate import Worker
from .regulator import PERIOD_S, Look, Regulator
from .tasks import Place, current_frames, is_in_task, place_of

_PERIOD_NS: Final = round(PERIOD_S * 1e9)
# A beat costs up to 0.3 ms of CPU time, for who waits for the GIL wakes up every switch interval. Then they come less
# often, so that they use no more than this share of a core, if they do not become too rare. To see what hundreds of
# threads do costs more, and is not part of every beat.
_OWN_SHARE: Final = 0.008
_FULL_SHARE: Final = 0.004
_LONGEST_PERIOD_NS: Final = 50_000_000
# Beats that found the GIL free, one after the other, from which on they come as seldom as that.
_CALM_BEATS: Final = 50
# Beats of half a period when tasks begin, or when somebody has to wait, to know soon what they are like.
_FIRST_BEATS: Final = 30
# Beats may not keep step with tasks: each period is up to this share longer or shorter.
_JITTER: Final = 0.3
# From one look at the threads to the next, and what share of the time it may take.
_LOOK_NS: Final = 3 * _PERIOD_NS // 4
_LOOK_SHARE: Final = 0.005
# Beats without a task after which the watch sleeps.
_PATIENCE_BEATS: Final = 5
# Seconds for which the thread stays when the last pool has gone: another may come, as where each call has its own. And
# from one look to the next whether the workers of a pool have gone.
_LINGER_S: Final = 0.25


class Owner(Protocol):
    """Who has the thread; see :class:`nicefutures._threads.controller.Controller`."""

    regulators: list[Regulator]
    waits_s: deque[float]

    def prune(self) -> list[Regulator]:
        """Return the pools that have workers; let those go that have none any more."""

    def rest(self) -> None:
        """Take notice that no task runs."""

    def gone(self, watcher: "Watcher") -> bool:
        """Let the thread end if there is nothing to watch."""

    def set_interval(self, busy: Sequence[Regulator]) -> None:
        """Make the switch interval as short as the pools at work need it."""


class Watcher:
    """The thread that watches. For `threading` it is none, so nobody finds one more there than with the stdlib's pool.

    Attributes
    ----------
    tid : int or None
        Its native id, once it runs.
    """

    def __init__(self, controller: Owner) -> None:
        self.tid: int | None = None
        self._controller = controller
        # Locks that are released to say something: no object of `threading`'s, which take a lock themselves to do so.
        self._work, self._stopping, self._ended = (threading.Lock() for _ in range(3))
        for lock in (self._work, self._stopping, self._ended):
            lock.acquire()
        self._random = random.Random()  # noqa: S311, and not everybody's, whose state is the program's
        self._woken_at = 0
        self._looked_at = self._next_look = self._next_full = 0
        self._used_at_look: dict[int, int] = {}
        self._places: dict[int, Place | None] = {}
        self._busy: dict[int, bool] = {}
        self._running: dict[Regulator, list[Worker]] = {}
        self._blame = Blame(controller)

    def start(self) -> None:
        """Start it. It inherits the level of the caller, which should be no worker.

        Raises
        ------
        RuntimeError
            If the system or the interpreter does not give another thread.
        """
        _thread.start_new_thread(self._run, ())

    def wake(self) -> None:
        """Let the thread look, from what the threads have done so far: the task that begins now may take the GIL."""
        self._woken_at = time.perf_counter_ns()
        self._blame.begin()
        self.reconsider()

    def reconsider(self) -> None:
        """Let the thread see what there is to do, whether there are pools left for example."""
        with contextlib.suppress(RuntimeError):  # it has been told already
            self._work.release()

    def stop(self) -> None:
        """End the thread, and wait for that."""
        self._stopping.release()
        self.reconsider()
        self._ended.acquire()

    def _run(self) -> None:
        self.tid = threading.get_native_id()
        try:
            while self._stopping.locked():
                times, used_ns = backend.accounting.thread_waits(), time.thread_time_ns()
                pools = self._controller.prune()
                changes = not pools or any(regulator.gate.ends for regulator in pools)
                if not self._work.acquire(timeout=_LINGER_S if changes else -1):
                    if self._controller.gone(self):
                        return
                elif self._woken_at:
                    self._watch(times, used_ns)
                    self._woken_at = 0
                    self._controller.rest()
        finally:
            self._ended.release()

    def _watch(self, times: int | None, used: int) -> None:
        """Beat until no task has run for a while.

        `times` and `used` are how often this thread had waited before it was woken, and its CPU time, in ns.
        """
        quiet = beats = calm = cost = 0
        pause, thread_waits = backend.accounting.pause, backend.accounting.thread_waits
        with backend.accounting.cpu_delay() as delay:
            # The first beat is due at once: the task that woke this thread may have taken the GIL before it got there.
            period, last, delayed = 0, self._woken_at, delay()
            while quiet < _PATIENCE_BEATS:
                # From the last beat on, whatever this thread has done since, so that no stall falls in between.
                due = last + period
                if pause(self._stopping, max(due - time.perf_counter_ns(), 0) / 1e9):
                    self._stopping.release()
                    return
                # All counters at the same time: what follows gives the GIL away, and may wait for it.
                last, now_times, now_used = time.perf_counter_ns(), thread_waits(), time.thread_time_ns()
                now_delayed = delay()
                # That this thread had no CPU is not the fault of who has the GIL.
                waited = max(last - due - (now_delayed - delayed), 0)
                tried = None if now_times is None or times is None else now_times - times
                own = now_used - used
                times, used, delayed = now_times, now_used, now_delayed
                busy = self._beat(Wait(waited, period, own, tried))
                quiet = 0 if busy else quiet + 1
                beats += 1
                calm = calm + 1 if waited < _PERIOD_NS // 50 else 0
                if any(regulator.is_deciding for regulator in busy):
                    beats = 0
                cost += (own - cost) // 8
                period = max(_PERIOD_NS, round(cost / _OWN_SHARE), _LONGEST_PERIOD_NS * (calm >= _CALM_BEATS))
                period = _PERIOD_NS // 2 if beats < _FIRST_BEATS else min(period, _LONGEST_PERIOD_NS)
                period = round(period * self._random.uniform(1 - _JITTER, 1 + _JITTER))

    def _beat(self, wait: Wait) -> list[Regulator]:
        """Take note of a wait for the GIL; return the pools that are at work."""
        regulators = self._controller.prune()
        if regulators and wait.ns >= min(regulator.stall_s for regulator in regulators) * 1e9:
            self._blame.find_culprit(wait)
        now = time.perf_counter_ns()
        full = now >= self._next_full
        if full:
            used_ns = time.thread_time_ns()
            self._find_running(regulators)
        running = self._running
        busy = [regulator for regulator in regulators if running.get(regulator) or not regulator.gate.empty()]
        if busy:
            self._controller.waits_s.append(wait.seconds)
            for regulator in busy:
                regulator.beat(wait.seconds, len(running.get(regulator, ())))
            if full:
                self._blame.remember([w for each in busy for w in running.get(each, ())], self._places)
            self._controller.set_interval(busy)
            if now >= self._next_look:
                self._look(busy)
        if full:
            # Its CPU time may be told in ticks of 15.6 ms (Windows): what it used is no more than what it took.
            cost_ns = min(time.thread_time_ns() - used_ns, time.perf_counter_ns() - now)
            self._next_full = now + round(cost_ns / _FULL_SHARE)
        return busy

    def _find_running(self, regulators: Sequence[Regulator]) -> None:
        """See where in its code each thread is, and which workers have a task."""
        frames = current_frames()
        places = {ident: place_of(frame) for ident, frame in frames.items()}
        busy_before, self._busy, self._running = self._busy, {}, {}
        for regulator in regulators:
            running = self._running[regulator] = []
            for worker in regulator.gate.workers:
                ident = worker.ident
                still = ident in busy_before and places.get(ident) == self._places.get(ident)
                self._busy[ident] = busy_before[ident] if still else is_in_task(frames.get(ident))
                if self._busy[ident]:
                    running.append(worker)
        self._places = places
        # This frame is among them: they would keep each other alive, and with them what is in all frames.
        frames.clear()

    def _look(self, busy: Sequence[Regulator]) -> None:
        """Tell the pools what the threads have used since the last look, if that is of use to one."""
        now = time.perf_counter_ns()
        if not any(regulator.needs_look for regulator in busy):
            self._looked_at, self._next_look = 0, now
            return
        before, since = self._used_at_look, self._looked_at
        self._looked_at, self._used_at_look = now, cpu_time.read_all()
        took = time.perf_counter_ns() - now
        self._next_look = now + max(_LOOK_NS, round(took / _LOOK_SHARE))
        if since:
            used = {tid: ticks - before.get(tid, ticks) for tid, ticks in self._used_at_look.items()}
            for regulator in busy:
                if regulator.needs_look:
                    regulator.look(Look(now - since, used))
