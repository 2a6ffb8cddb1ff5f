"""Watches all pools of the process with one thread, which measures waits for the GIL and CPU times of threads.

The thread sleeps while no task runs. It may also wake up late because it has no CPU: Linux tells how long a thread was
ready to run and did not, and that is subtracted.
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

from .._system import backend
from . import cpu_time
from .blame import Blame, Wait
from .gil import SwitchInterval
from .regulator import PERIOD_S, Beat, Regulator

_PERIOD_NS: Final = round(PERIOD_S * 1e9)
# What share of a core this thread may use. A beat costs 0.1 to 0.3 ms, more where there are hundreds of threads; then
# the beats are further apart, but not so far that they say nothing of the present.
_OWN_SHARE: Final = 0.02
_LONGEST_PERIOD_NS: Final = 5 * _PERIOD_NS
# Seconds without a task after which this thread sleeps, and for which it stays when the last pool has gone: the next
# one may come soon, for example where each call has its own.
_PATIENCE_S: Final = 0.1
_LINGER_S: Final = 0.25
# How many of the last beats the statistics are of: about 5 s.
_REMEMBERED_BEATS: Final = 500


class _Counters(NamedTuple):
    """What the counters of this thread told at a time: the waits that it began, and its CPU time in ns."""

    at: int
    waits: int | None
    used: int


def _read_counters() -> _Counters:
    # Windows counts `thread_time_ns` in ticks of 15.6 ms.
    used = backend.accounting.thread_cpu_time(threading.get_native_id())
    waits = backend.accounting.thread_waits()
    return _Counters(time.perf_counter_ns(), waits, time.thread_time_ns() if used is None else used)


class Watcher:
    """The thread that watches. `threading` does not know it: a program finds as many threads as with the stdlib's pool.

    Attributes
    ----------
    tid : int or None
        Its native id, once it runs.
    """

    def __init__(self, controller: "Controller") -> None:
        self.tid: int | None = None
        self._controller = controller
        # Locks that are released to say something: no object of `threading`'s, which take a lock themselves to do so.
        self._work, self._stopping, self._ended = (threading.Lock() for _ in range(3))
        for lock in (self._work, self._stopping, self._ended):
            lock.acquire()
        self._random = random.Random()  # noqa: S311, and not the one whose state is the program's
        self._woken_at = 0
        self._soonest_ns = 0  # of all beats: so late they are by themselves
        self._used: dict[int, int] = {}
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
        self._used = cpu_time.read_all()
        self._blame.begin(self._used)
        self.reconsider()

    def reconsider(self) -> None:
        """Let the thread see whether there are pools left."""
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
        """Beat until no task has run for a while. `before` is from when this thread went to sleep."""
        quiet_s, period, cost = 0.0, 0, 0
        with backend.accounting.cpu_delay() as delay:
            # The first beat is due at once: the task that woke this thread may have taken the GIL before it got there.
            before, delayed = before._replace(at=self._woken_at), delay()
            while quiet_s < _PATIENCE_S:
                # From the last beat on, whatever this thread has done since, so that no stall falls in between.
                due = before.at + period
                if backend.accounting.pause(self._stopping, max(due - time.perf_counter_ns(), 0) / 1e9):
                    self._stopping.release()
                    return
                now = _read_counters()
                waited = max(now.at - due, 0)
                # Beside Python code it waits for an interval at least. Timers are late by themselves.
                half = round(max(sys.getswitchinterval(), 0.001) * 5e8)
                self._soonest_ns = min(self._soonest_ns or half, waited, half)
                free = waited - self._soonest_ns < half
                # That this thread had no CPU is not the fault of the thread that has the GIL.
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
        """Take note of a wait for the GIL; return the pools that are at work."""
        regulators = list(self._controller.regulators)
        stalled = any(wait.seconds >= regulator.stalls.shortest_s for regulator in regulators)
        if stalled:
            self._blame.find_culprit(wait)
        before, self._used = self._used, cpu_time.read_all()
        busy = [regulator for regulator in regulators if regulator.gate.running or not regulator.gate.empty()]
        if busy:
            used_s = {tid: (used - before.get(tid, used)) / 1e9 for tid, used in self._used.items()}
            if used_s:
                used_s[self.tid or 0] = wait.own_ns / 1e9
            self._controller.waits_s.append(wait.seconds)
            beat = Beat(elapsed_s, found_free, used_s)
            for regulator in busy:
                regulator.beat(beat)
            # After a stall its task is still where the next one like it may be.
            (self._blame.begin if stalled else self._blame.remember)(self._used)
            self._controller.set_interval(busy)
        return busy


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
        # Reentrant, because the garbage collector may end a pool at any point.
        self._lock = threading.RLock()

    @property
    def gil_wait_percentiles(self) -> tuple[float | None, float | None]:
        """The p50 and p99 of how long the last beats had to wait for the GIL, in s."""
        waits = sorted(self.waits_s)
        p50, p99 = (waits[round(share * (len(waits) - 1))] if waits else None for share in (0.5, 0.99))
        return p50, p99

    # --- for the thread that submits a task

    def wake(self) -> None:
        """Look, because there is a task. No lock of ours is taken except to start the thread: callers may hold one."""
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
        """Watch for a pool. A worker calls this; it must not start the thread, which would inherit its level."""
        with self._lock:
            self.regulators.append(regulator)
        if self.watcher is None:
            regulator.open()
        elif not self.awake:
            self.wake()

    def remove(self, regulator: Regulator) -> None:
        """Watch no more for a pool; after the last one, the switch interval is what it was."""
        with self._lock:
            self.regulators.remove(regulator)
            if not self.regulators:
                self.interval.put_back()
                if self.watcher is not None and not self.awake:
                    self.watcher.reconsider()

    # --- for the watching thread

    def rest(self) -> None:
        """Let tasks that begin call `wake`, and the switch interval be what it was."""
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
        """Let the thread end if there is nothing to watch."""
        with self._lock:
            if self.watcher is not watcher:
                return True  # it is being stopped
            if not self.awake:
                self.interval.put_back()
            self.watcher = None
            # A caller of `wake` either set `awake` before that line, or finds no watcher and waits for this lock.
            if self.regulators or self.awake or self.interval.recheck_s is not None:
                self.watcher = watcher
            return self.watcher is None

    def lose(self, watcher: Watcher) -> None:
        """Let all workers of all pools in if the thread ends without having been told to: nothing watches them."""
        with self._lock:
            if self.watcher is watcher:
                self.watcher, self.awake = None, False
                for regulator in self.regulators:
                    regulator.open()

    def set_interval(self, busy: list[Regulator]) -> None:
        """Make the switch interval as short as the most demanding of the pools at work needs it."""
        with self._lock:
            if self.regulators:
                self.interval.shorten(min(regulator.interval_s for regulator in busy))

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
        """Without a pool there is no other thread: a fork must not warn of one, and the child must not lack it."""
        if self.watcher is not None and threading.get_native_id() != self.watcher.tid:
            self._stop(unless_needed=True)

    def _after_fork(self) -> None:
        """In the child there is neither a worker nor a thread that watches."""
        regulators = self.regulators
        self.interval.put_back()
        self._reset()
        for regulator in regulators:
            regulator.gate.reset_after_fork()


controller: Final = Controller()
