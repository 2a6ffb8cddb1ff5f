"""Keeps the wait for the GIL short while thread pools are at work.

Some facts:

* The thread that has the GIL gives it up when it waits for something, or, if it runs Python code, when another thread
  has asked for it for a switch interval (``Python/ceval_gil.c``). With k threads that run Python code, a thread that
  wakes up has to wait for about k intervals, and k - 1 of those threads are of no use: they do no more work than one.
* So a thread that sleeps for a while and then needs the GIL tells what any other thread has to put up with. If it had to
  wait, somebody ran Python code or a C call that keeps the GIL. Under work that releases the GIL it hardly ever waits.
* A late wake-up may be the CPU's fault. Linux tells how long a thread was ready to run and did not; that is subtracted.
* Workers that wait for something else, such as a lock, a socket or each other, use no CPU. They do not count, so in the
  end as many tasks run as there are workers.

One thread watches for all pools of the process. It sleeps when no task runs, and ends with the last pool.
"""

import logging
import math
import os
import sys
import threading
import time
import types
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ._gate import EndedTask, Gate, Task, Worker
from ._platform import backend

LOGGER: Final = logging.getLogger("nicefutures")

_PERIOD_S: Final = 0.020
_PERIOD_NS: Final = round(_PERIOD_S * 1e9)
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
# How many of the last beats the statistics are of: 5 s.
_REMEMBERED_BEATS: Final = 250
# How many beats a decision is made of, at least and at most.
_FEW_BEATS: Final = 5
_RECENT_BEATS: Final = 10
# Mean waits in switch intervals. Who finds the GIL held by Python code waits for 1; from about there on the GIL is what
# the tasks wait for. Below the second there is room for more of them.
_SATURATED: Final = 0.9
_ROOM: Final = 0.5
# A longer wait counts as so many intervals: one stall says nothing of the load.
_LONGEST_WAIT: Final = 2.0
# Share of the CPU time of all Python threads below which a pool is not who keeps the GIL.
_MINOR_SHARE: Final = 0.25
# CPU time over time: threads that all need the GIL use one core together. (Where the time is told in cycles, this takes
# less for more, and a pool beside another busy thread is not limited.)
_MUCH: Final = 0.5
_MORE_THAN_ONE: Final = 1.3
# Of the CPU time that would be a thread's fair share: who uses less is waiting for something, and not for the GIL.
_WAITING_SHARE: Final = 0.1
# A stall worth naming, in targets, and how many functions are kept.
_STALL_TARGETS: Final = 10
_STALLS_KEPT: Final = 10
# Switch intervals per target: who waits does so for one, and for whoever comes first.
_INTERVALS_PER_TARGET: Final = 5
# Windows rounds what is shorter down to nothing (`Python/condvar.h`).
_SHORTEST_INTERVAL_S: Final = 0.001


class PoolStats(NamedTuple):
    """What :meth:`PriorityThreadPoolExecutor.stats` tells.

    Attributes
    ----------
    limit : int
        How many workers may run at once now.
    running : int
        How many do.
    gil_wait_p50, gil_wait_p99 : float or None
        Percentiles of how long a thread that woke up had to wait for the GIL, in s, during the last 5 s of work of all
        pools; None if there was none, or nobody watches.
    tasks_done : int
        How many tasks have been done so far, those that failed included.
    lifted : bool
        Whether workers at IDLE or LOWEST run at BELOW_NORMAL now, as their tasks keep the GIL.
    """

    limit: int
    running: int
    gil_wait_p50: float | None
    gil_wait_p99: float | None
    tasks_done: int
    lifted: bool


class Stall(NamedTuple):
    """A time during which a task kept every other Python thread waiting.

    Attributes
    ----------
    function : str
        Qualified name of the function that was submitted.
    seconds : float
        The longest such time, to within a few ms.
    count : int
        How often this function stalled the interpreter.
    """

    function: str
    seconds: float
    count: int


class SwitchInterval:
    """The interpreter's switch interval, shorter for a while. What the user sets meanwhile is left alone."""

    def __init__(self) -> None:
        self._before: float | None = None
        self._wanted = self._ours = 0.0

    def shorten(self, seconds: float) -> None:
        """Make it `seconds` unless it is shorter already."""
        now = sys.getswitchinterval()
        if self._before is None:
            if now <= seconds:
                return
            self._before = now
        elif now != self._ours or seconds in (self._wanted, now):
            return
        self._wanted = min(seconds, self._before)
        sys.setswitchinterval(self._wanted)
        self._ours = sys.getswitchinterval()  # as rounded by the interpreter

    def put_back(self) -> None:
        """Make it what it was."""
        before, self._before = self._before, None
        if before is not None and sys.getswitchinterval() == self._ours:
            sys.setswitchinterval(before)


class Look(NamedTuple):
    """What the threads did since the last look.

    Attributes
    ----------
    since : int
        When that was, in ns of `time.perf_counter_ns`.
    elapsed_ns : int
        How long ago.
    used : mapping of int to int
        CPU time that each Python thread used, by native id, in the unit of the system; empty where it does not tell.
    """

    since: int
    elapsed_ns: int
    used: Mapping[int, int]

    def is_due_to(self, workers: Sequence[Worker]) -> bool:
        """Return whether it may be these workers who keep the GIL busy, now that it is."""
        total = sum(self.used.values())
        ours = sum(self.used.get(worker.native_id, 0) for worker in workers)
        others = total - ours
        if others >= _MUCH * self.elapsed_ns and total >= _MORE_THAN_ONE * self.elapsed_ns:
            return False  # together they did more than the GIL lets them: others keep it, and these release it
        # Starved workers use little CPU, and have the GIL all the same.
        return ours >= _MINOR_SHARE * total or any(backend.is_ready(worker.native_id) for worker in workers)

    def is_waiting(self, worker: Worker, among: int) -> bool:
        """Return whether a worker waits for something else than the GIL or the CPU, all the time.

        Parameters
        ----------
        worker : Worker
            One that has a task.
        among : int
            How many threads have a claim to the GIL.
        """
        if worker.task is None or worker.task.begun > self.since:
            return False
        used = self.used.get(worker.native_id)
        if used is None:
            return True  # not known: better too many run than too few
        fair = sum(self.used.values()) / among
        return used <= fair * _WAITING_SHARE and not backend.is_ready(worker.native_id)


class Regulator:
    """Sets the limit of one pool's gate.

    Parameters
    ----------
    gate : Gate
        That of the pool.
    target : float
        Seconds that another thread may wait for the GIL because of this pool.
    """

    def __init__(self, gate: Gate, target: float) -> None:
        self.gate = gate
        self.interval_s = max(target / _INTERVALS_PER_TARGET, _SHORTEST_INTERVAL_S)
        # A wait begins up to a period after the stall did.
        self.stall_s = max(_STALL_TARGETS * target - _PERIOD_S, _PERIOD_S)
        gate.watch, gate.long_ns = self, self.stall_s * 1e9
        self._limit = gate.width
        self._waits: deque[float] = deque(maxlen=_RECENT_BEATS)
        self._stalls: dict[str, Stall] = {}

    @property
    def awake(self) -> bool:
        """Whether a task that begins is noticed."""
        return controller.awake

    def wake(self) -> None:
        """Take notice of a task that has begun."""
        controller.wake()

    def begin(self) -> None:
        """Watch: there is a worker."""
        controller.add(self)

    def end(self) -> None:
        """Watch no more: there is no worker."""
        controller.remove(self)

    def beat(self, waited_s: float) -> None:
        """Take note of how long a beat waited for the GIL."""
        # A wait that swallowed beats counts for each of them.
        for _ in range(1 + min(int(waited_s / _PERIOD_S), _RECENT_BEATS)):
            self._waits.append(min(waited_s / sys.getswitchinterval(), _LONGEST_WAIT))

    def look(self, look: Look) -> None:
        """Set how many workers may run."""
        running = self.gate.running
        if running and len(self._waits) >= _FEW_BEATS:
            self._adapt(running, look)
        limit = self._limit
        if limit < self.gate.width:
            waiting = sum(look.is_waiting(worker, len(running) + 1) for worker in running)
            # If all of them wait, for each other it may be, twice as many: 32 take five looks.
            limit = limit + waiting if waiting < len(running) else max(limit, 2 * waiting)
        self.gate.set_limit(min(limit, self.gate.width))

    def _adapt(self, running: Sequence[Worker], look: Look) -> None:
        before, wait = self._limit, sum(self._waits) / len(self._waits)
        if wait >= _SATURATED and look.is_due_to(running):
            self._limit = max(min(before, len(running)) // 2, 1)
            self.gate.lifted = True
        elif wait <= _ROOM or wait >= _SATURATED:
            self._limit = min(before * 2, self.gate.width)
            self.gate.lifted = False
        if self._limit != before:
            self._waits.clear()

    def open(self) -> None:
        """Let all workers through: nobody watches."""
        self._limit = self.gate.width
        self.gate.set_limit(self._limit)

    def blame(self, name: str, seconds: float) -> None:
        """Take note of a function that stalled the interpreter."""
        known = self._stalls.get(name)
        if known is None:
            LOGGER.info(
                "%s kept every other Python thread waiting for about %.0f ms: it does not release the GIL. "
                "LowPriorityProcessPoolExecutor would run it in another process.",
                name,
                seconds * 1e3,
            )
        count, longest = (known.count, known.seconds) if known else (0, 0.0)
        stalls = {**self._stalls, name: Stall(name, max(seconds, longest), count + 1)}
        self._stalls = dict(sorted(stalls.items(), key=lambda item: -item[1].seconds)[:_STALLS_KEPT])

    @property
    def stalls(self) -> list[Stall]:
        """The functions that stalled the interpreter, the worst one first."""
        return list(self._stalls.values())


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
        self._lock = threading.Lock()
        self._watcher: Watcher | None = None
        self._last_watcher: Watcher | None = None

    def add(self, regulator: Regulator) -> None:
        """Watch for a pool."""
        with self._lock:
            self.regulators.append(regulator)

    def remove(self, regulator: Regulator) -> None:
        """Watch no more for a pool; after the last one, the switch interval is what it was and the thread ends."""
        with self._lock:
            self.regulators.remove(regulator)
            if not self.regulators:
                self.interval.put_back()
                self.awake = False
                self._last_watcher, self._watcher = self._watcher, None
                if self._last_watcher is not None:
                    self._last_watcher.stop()

    def wake(self) -> None:
        """Look, for there is a task."""
        with self._lock:
            if self.awake:
                return
            self.awake = True
            if self._watcher is not None:
                self._watcher.wake()
                return
            if not self._survives_fork and hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=self._after_fork)
                self._survives_fork = True
            watcher = Watcher(self)
            watcher.wake()
            try:
                watcher.start()
            except RuntimeError:  # no more threads, none that are daemonic, or the interpreter ends
                for regulator in self.regulators:
                    regulator.open()
            else:
                self._watcher = watcher

    def join(self) -> None:
        """Wait for the thread to end, if there is no pool any more."""
        watcher = self._last_watcher
        if watcher is not None and watcher is not threading.current_thread():
            watcher.join()
            self._last_watcher = None

    def _after_fork(self) -> None:
        """In the child there is neither a pool nor a thread that watches."""
        self.interval.put_back()
        self._reset()

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


class Watcher(threading.Thread):
    """The thread that watches."""

    def __init__(self, controller: Controller) -> None:
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
        self._used: dict[int, int] = {}
        self._places: dict[int, tuple[int, int] | None] = {}

    def wake(self) -> None:
        """Let the thread look, from what the threads have done so far: the task that begins now may take the GIL."""
        self._woken_at = self._looked_at = time.perf_counter_ns()
        self._used_at_look = self._read_used()
        self._used = dict(self._used_at_look)
        self._work.set()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped = True
        self._stopping.release()
        self._work.set()

    def run(self) -> None:
        """Watch while tasks run."""
        while not self._stopped:
            self._watch()
            self._work.clear()
            self._controller.rest(self)
            # A task that began before that line did not call `wake`.
            if self._busy():
                self.wake()
            elif not self._stopped:
                self._work.wait()

    def _busy(self) -> list[Regulator]:
        return [regulator for regulator in list(self._controller.regulators) if regulator.gate.running]

    def _watch(self) -> None:
        """Beat until no task has run for a while."""
        quiet = beats = cost = 0
        with backend.cpu_delay() as delay:
            # The first beat is due at once: the task that woke this thread may have taken the GIL before it got there.
            period, last, delayed, used = 0, self._woken_at, delay(), time.thread_time_ns()
            while quiet < _PATIENCE_BEATS:
                # From the last beat on, whatever this thread has done since, so that no stall falls in between.
                due = last + period
                if backend.pause(self._stopping, max(due - time.perf_counter_ns(), 0) / 1e9):
                    return
                last = time.perf_counter_ns()
                before, delayed = delayed, delay()
                busy = self._busy()
                # That this thread had no CPU is not the fault of who has the GIL.
                self._beat(busy, max(last - due - (delayed - before), 0), period)
                if beats % _BEATS_PER_LOOK == 0 or last - due > _BEATS_PER_LOOK * _PERIOD_NS:
                    self._look()
                    self._controller.shorten_interval(self)
                quiet = 0 if busy else quiet + 1
                beats += 1
                before, used = used, time.thread_time_ns()
                cost += (used - before - cost) // 8
                period = min(max(_PERIOD_NS, round(cost / _OWN_SHARE)), _LONGEST_PERIOD_NS)
                if beats < _FIRST_BEATS:
                    period = _PERIOD_NS // 2

    def _beat(self, busy: list[Regulator], waited_ns: int, began_ns: int) -> None:
        """Take note of a wait for the GIL, which somebody may have held since `began_ns` before the wait began."""
        if waited_ns >= 1e9 * min((r.stall_s for r in self._controller.regulators), default=math.inf):
            self._find_culprit(waited_ns, began_ns)
        if busy:
            self._controller.waits_s.append(waited_ns / 1e9)
            for regulator in busy:
                regulator.beat(waited_ns / 1e9)
            self._remember([worker for regulator in busy for worker in regulator.gate.running])

    def _remember(self, workers: list[Worker]) -> None:
        """Take note of what is needed to tell, after a stall, which of these workers it was."""
        frames = sys._current_frames()  # noqa: SLF001, documented, for this kind of purpose
        self._places = {worker.ident: _place(frames.get(worker.ident)) for worker in workers}
        self._used.update(_cpu_times(worker.native_id for worker in workers))

    def _look(self) -> None:
        before, since = self._used_at_look, self._looked_at
        self._looked_at = time.perf_counter_ns()
        self._used_at_look = self._read_used()
        self._used = dict(self._used_at_look)
        used = {tid: now - before.get(tid, now) for tid, now in self._used_at_look.items()}
        for regulator in list(self._controller.regulators):
            regulator.look(Look(since, self._looked_at - since, used))

    def _read_used(self) -> dict[int, int]:
        """Return the CPU time of each Python thread, this one excepted, by native id."""
        return _cpu_times(thread.native_id for thread in threading.enumerate() if thread is not self)

    def _find_culprit(self, waited_ns: int, began_ns: int) -> None:
        """Tell the pool whose task kept the GIL all that time, if it was one."""
        now = time.perf_counter_ns()
        frames = sys._current_frames()  # noqa: SLF001
        used = {tid: time_used - self._used.get(tid, 0) for tid, time_used in self._read_used().items()}
        suspects: list[tuple[tuple[bool, bool, int], Regulator, Task | EndedTask]] = []
        for regulator in list(self._controller.regulators):
            for worker in regulator.gate.workers:
                task = worker.task_at(now - waited_ns // 2)
                if task is not None and waited_ns >= regulator.stall_s * 1e9:
                    busy = used.pop(worker.native_id, 0) >= waited_ns // 2
                    # Who is where it was, and was not waiting for the GIL, was in a call that had released it.
                    moved = self._places.get(worker.ident) != _place(frames.get(worker.ident))
                    suspects.append(((busy, moved, task.begun), regulator, task))
        if not suspects:
            return
        (busy, _, _), regulator, task = max(suspects, key=lambda suspect: suspect[0])
        # Nobody's fault here, if another thread computed meanwhile and no worker did.
        if busy or max(used.values(), default=0) < waited_ns // 2:
            # After the call, its thread kept the GIL for another switch interval.
            seconds = (waited_ns + began_ns // 2) / 1e9 - sys.getswitchinterval()
            regulator.blame(task.function, min(seconds, (now - task.begun) / 1e9))


def _cpu_times(tids: Iterable[int | None]) -> dict[int, int]:
    """Return the CPU time of each thread, without those of which it is not known."""
    times = {tid: backend.thread_cpu_time(tid) for tid in tids if tid is not None}
    return {tid: used for tid, used in times.items() if used is not None}


def _place(frame: types.FrameType | None) -> tuple[int, int] | None:
    """Return where in its code a thread is."""
    return (id(frame), frame.f_lasti) if frame is not None else None


controller: Final = Controller()


def has_gil() -> bool:
    """Return whether this interpreter has a GIL in force."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def make_stats(gate: Gate, regulator: Regulator | None) -> PoolStats:
    """Return the figures of a pool."""
    waits = sorted(controller.waits_s) if regulator is not None else []
    p50, p99 = (waits[round(share * (len(waits) - 1))] if waits else None for share in (0.5, 0.99))
    return PoolStats(gate.limit, len(gate.running), p50, p99, gate.tasks_done, gate.lifted and gate.lift is not None)
