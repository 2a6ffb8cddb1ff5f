"""Watches all pools of the process with one thread, which measures waits for the GIL and CPU times of threads.

Each measurement is a beat. The thread sleeps while no task runs. It may also wake up late because it has no CPU: Linux
tells how long a thread was ready to run and had no CPU, and this time is subtracted.
"""

import _thread
import atexit
import contextlib
import os
import random
import sys
import threading
import time
from collections import deque
from typing import Final, NamedTuple

from .._originals import now_ns
from .._system import backend
from . import cpu_time
from .blame import Blame, Wait
from .gil import SwitchInterval
from .regulator import PERIOD_S, Beat, Regulator

_PERIOD_NS: Final = round(PERIOD_S * 1e9)
# Share of a core that this thread may use. A beat costs 0.1 to 0.3 ms, and more with hundreds of threads. Then the
# beats are further apart, up to the longest period: with longer ones, they would not describe the present.
_OWN_SHARE: Final = 0.02
_LONGEST_PERIOD_NS: Final = 5 * _PERIOD_NS
# Seconds without a task after which this thread sleeps, and seconds that it stays after the end of the last pool: the
# next pool may come soon, for example if each call has its own.
_PATIENCE_S: Final = 0.1
_LINGER_S: Final = 0.25
# Number of the last beats in the statistics: about 5 s.
_REMEMBERED_BEATS: Final = 500


class _Counters(NamedTuple):
    """The counters of this thread at a time: the waits that it began, and its CPU time in ns."""

    at: int
    waits: int | None
    used: int


def _read_counters() -> _Counters:
    # Windows counts `thread_time_ns` in ticks of 15.6 ms.
    used = backend.accounting.thread_cpu_time(threading.get_native_id())
    waits = backend.accounting.thread_waits()
    return _Counters(now_ns(), waits, time.thread_time_ns() if used is None else used)


class Watcher:
    """The watching thread. `threading` does not list it: a program finds as many threads as with the stdlib's pool."""

    def __init__(self, controller: "Controller") -> None:
        self.tid: int | None = None  # its native id, once it runs
        self._controller = controller
        # Locks that signal by their release. An event or condition of `threading` would take a lock itself to signal.
        self._work, self._stopping, self._ended = (threading.Lock() for _ in range(3))
        for lock in (self._work, self._stopping, self._ended):
            lock.acquire()
        self._random = random.Random()  # noqa: S311, not the program's own generator
        self._woken_at = 0
        self._soonest_ns = 0  # the shortest delay of a beat: timers are that late
        self._used: dict[int, int] = {}
        self._used_by_all = 0
        self._blame = Blame(controller.regulators)

    def start(self) -> None:
        """Start the thread. It inherits the priority of the caller, which should not be a worker.

        Raise a RuntimeError if the system or the interpreter cannot start another thread.
        """
        _thread.start_new_thread(self._run, ())

    def wake(self) -> None:
        """Wake the thread, after a record of all CPU times: the task that begins now may take the GIL."""
        self._woken_at = now_ns()
        self._used, self._used_by_all = cpu_time.read_all(), time.process_time_ns()
        self._blame.begin(self._used)
        self.reconsider()

    def reconsider(self) -> None:
        """Let the thread check whether there are pools left."""
        with contextlib.suppress(RuntimeError):  # it has been signalled already
            self._work.release()

    def stop(self) -> None:
        """End the thread, and wait for its end."""
        self._stopping.release()
        self.reconsider()
        self._ended.acquire()

    def _run(self) -> None:
        self.tid = threading.get_native_id()
        try:
            self._watch_pools()
        finally:
            self._controller.lose(self)
            self._ended.release()

    def _watch_pools(self) -> None:
        while self._stopping.locked():
            counters = _read_counters()
            recheck_s = self._controller.interval.recheck_s
            timeout = recheck_s if recheck_s is not None else -1 if self._controller.regulators else _LINGER_S
            if not self._work.acquire(timeout=timeout):
                if self._controller.gone(self):
                    return
            elif self._woken_at:
                self._watch(counters)
                self._woken_at = 0
                self._controller.rest()

    def _watch(self, before: _Counters) -> None:
        """Measure until no task has run for a while. `before` has the counters from when this thread went to sleep."""
        quiet_s, period, cost = 0.0, 0, 0
        with backend.accounting.cpu_delay() as delay:
            # The first beat is due at once: the task that woke this thread may have taken the GIL before this line.
            before, delayed = before._replace(at=self._woken_at), delay()
            while quiet_s < _PATIENCE_S:
                # Counted from the last beat, and not from now, so that no stall falls in between.
                due = before.at + period
                if backend.accounting.pause(self._stopping, max(due - now_ns(), 0) / 1e9):
                    self._stopping.release()
                    return
                now = _read_counters()
                waited = max(now.at - due, 0)
                # While Python code runs, this thread waits for at least one interval. Timers have a delay of their own.
                half = round(max(sys.getswitchinterval(), 0.001) * 5e8)
                self._soonest_ns = min(self._soonest_ns or half, waited, half)
                free = waited - self._soonest_ns < half
                # The thread that has the GIL is not to blame for the time in which this thread had no CPU.
                delayed, since = delay(), delayed
                waited = max(waited - (delayed - since), 0)
                tried = None if now.waits is None or before.waits is None else now.waits - before.waits
                own, elapsed_s = now.used - before.used, max(now.at - before.at, 1) / 1e9
                busy = self._beat(Wait(waited, period, own, tried), elapsed_s, free)
                quiet_s = 0.0 if busy else quiet_s + elapsed_s
                before = now
                cost += (own - cost) // 8
                period = min(max(_PERIOD_NS, round(cost / _OWN_SHARE)), _LONGEST_PERIOD_NS)
                # Beats must not keep step with tasks.
                period = round(period * self._random.uniform(0.7, 1.3))

    def _beat(self, wait: Wait, elapsed_s: float, found_free: bool) -> list[Regulator]:
        """Process a wait for the GIL; return the regulators of the pools that have work."""
        regulators = list(self._controller.regulators)
        stalled = any(wait.seconds >= regulator.stalls.shortest_s for regulator in regulators)
        if stalled:
            self._blame.find_culprit(wait)
        before, self._used = self._used, cpu_time.read_all()
        before_by_all, self._used_by_all = self._used_by_all, time.process_time_ns()
        busy = [regulator for regulator in regulators if regulator.gate.running or not regulator.gate.empty()]
        if busy:
            used_s = {tid: (used - before.get(tid, used)) / 1e9 for tid, used in self._used.items()}
            if used_s:
                used_s[self.tid or 0] = wait.own_ns / 1e9
            self._controller.waits_s.append(wait.seconds)
            others_s = (self._used_by_all - before_by_all) / 1e9 - sum(used_s.values()) if used_s else 0.0
            beat = Beat(elapsed_s, found_free, used_s, others_s)
            for regulator in busy:
                regulator.beat(beat)
            # After a stall, places are not remembered: the next stall of its task may end at the same place.
            (self._blame.begin if stalled else self._blame.remember)(self._used)
            self._controller.set_interval(busy)
        return busy


class Controller:
    """Owns the thread that watches all pools of the process, from the first task to some time after the last pool."""

    def __init__(self) -> None:
        self._is_set_up = False
        self._reset()

    def _reset(self) -> None:
        self.awake = False  # the thread notices new tasks; if not, `wake` must be called after a submit
        self.interval = SwitchInterval()
        self.waits_s: deque[float] = deque(maxlen=_REMEMBERED_BEATS)  # of the last beats for the GIL
        self.regulators: list[Regulator] = []  # of the pools that have workers
        self.watcher: Watcher | None = None
        # Reentrant, because the garbage collector may end a pool at any point.
        self._lock = threading.RLock()

    @property
    def gil_wait_percentiles(self) -> tuple[float | None, float | None]:
        """The p50 and p99 of the last beats' waits for the GIL, in s."""
        waits = sorted(self.waits_s)
        p50, p99 = (waits[round(share * (len(waits) - 1))] if waits else None for share in (0.5, 0.99))
        return p50, p99

    # --- for the thread that submits a task

    def wake(self) -> None:
        """Wake the thread, because there is a task. It takes a lock only to start it: callers may hold locks."""
        self.awake = True
        try:
            watcher = self.watcher or self._start()
            if watcher is not None:
                watcher.wake()
            else:
                self.awake = False
        except BaseException:  # Ctrl-C; the next task wakes it
            self.awake = False
            raise

    # --- for the workers

    def add(self, regulator: Regulator) -> None:
        """Watch a pool. A worker calls this; it must not start the thread, which would inherit its priority."""
        with self._lock:
            self.regulators.append(regulator)
        if self.watcher is None:
            regulator.open()
        elif not self.awake:
            self.wake()

    def remove(self, regulator: Regulator) -> None:
        """Stop watching a pool; after the last one, restore the switch interval."""
        with self._lock:
            self.regulators.remove(regulator)
            if not self.regulators:
                self.interval.put_back()
                if self.watcher is not None and not self.awake:
                    self.watcher.reconsider()

    # --- for the watching thread

    def rest(self) -> None:
        """Require `wake` for the next task, restore the switch interval, and reset the regulators."""
        with self._lock:
            self.awake = False
            self.interval.put_back()
        pools = list(self.regulators)
        for regulator in pools:
            regulator.rest()
        # A task that was submitted before `awake` was set did not call `wake`.
        if any(regulator.gate.running or not regulator.gate.empty() for regulator in pools):
            self.wake()

    def gone(self, watcher: Watcher) -> bool:
        """Return whether the thread must end: it is being stopped, or there is nothing to watch."""
        with self._lock:
            if self.watcher is not watcher:
                return True  # it is being stopped
            if not self.awake:
                self.interval.put_back()
            self.watcher = None
            # A caller of `wake` either set `awake` before the line above, or finds no watcher and waits for this lock.
            if self.regulators or self.awake or self.interval.recheck_s is not None:
                self.watcher = watcher
            return self.watcher is None

    def lose(self, watcher: Watcher) -> None:
        """Let in all workers of all pools if the thread ends without a request, because nothing watches them."""
        with self._lock:
            if self.watcher is watcher:
                self.watcher, self.awake = None, False
                for regulator in self.regulators:
                    regulator.open()

    def set_interval(self, busy: list[Regulator]) -> None:
        """Set the switch interval to the shortest one that a pool with work needs."""
        with self._lock:
            if self.regulators:
                self.interval.shorten(min(regulator.interval_s for regulator in busy))

    # --- the life of the thread

    def _start(self) -> Watcher | None:
        """Return the watcher, started if there was none; None if it cannot start."""
        try:
            threading.Thread(daemon=True)
        except RuntimeError:  # a subinterpreter: it must not end while it has threads
            return None
        new = Watcher(self)
        with self._lock:
            if self.watcher is not None:
                return self.watcher
            self.watcher = new
        if not self._is_set_up:
            self._is_set_up = True
            # Imports the modules that beats need, in this thread: the children of a fork during an import hang.
            _read_counters()
            with backend.accounting.cpu_delay() as delay:
                delay()
            atexit.register(self._stop)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)
        try:
            new.start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self.lose(new)
        except BaseException:  # Ctrl-C
            self.lose(new)
            raise
        return self.watcher

    def _stop(self, *, unless_needed: bool = False) -> None:
        with self._lock:
            if unless_needed and self.regulators:
                return
            watcher, self.watcher = self.watcher, None
            self.awake = False
        if watcher is not None and not sys.is_finalizing():
            watcher.stop()

    def _before_fork(self) -> None:
        """Stop the thread if no pool has workers: then a fork does not warn of threads, and the child lacks none."""
        if self.watcher is not None and threading.get_native_id() != self.watcher.tid:
            self._stop(unless_needed=True)

    def _after_fork(self) -> None:
        """Reset the controller: the child has neither workers nor the watching thread."""
        regulators = self.regulators
        self.interval.put_back()
        self._reset()
        for regulator in regulators:
            regulator.gate.reset_after_fork()


controller: Final = Controller()
