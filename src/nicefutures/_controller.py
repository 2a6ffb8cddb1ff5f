"""One thread watches for all pools of the process how long it has to wait for the GIL; it sleeps when no task runs.

A late wake-up may be the CPU's fault. Linux tells how long a thread was ready to run and did not; that is subtracted.
"""

import math
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from ._gate import EndedTask, Task, Worker
from ._platform import backend
from ._regulator import PERIOD_S, TELLS_CPU_TIME, Look, Regulator
from ._switch_interval import SwitchInterval

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
# How many of the last beats the statistics are of: 5 s.
_REMEMBERED_BEATS: Final = 250
# In place of a thread's native id: all threads that are no workers.
_REST: Final = -1
# Who waits for the GIL wakes up every switch interval, and uses about so much CPU time each time.
_TRY_NS: Final = 2_000


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


class Wait(NamedTuple):
    """How long the watching thread waited for the GIL.

    Attributes
    ----------
    ns : int
        How long.
    period_ns : int
        How long it had slept before: at some time of that somebody took the GIL.
    own_ns : int
        CPU time that it used.
    times : int or None
        How often it went to wait, for whatever it was; None where that is not known.
    """

    ns: int
    period_ns: int
    own_ns: int
    times: int | None

    @property
    def seconds(self) -> float:
        """How long, in s."""
        return self.ns / 1e9

    @property
    def was_for_gil(self) -> bool:
        """Whether that is what it was, and the process not stopped: who waits for the GIL wakes up every interval."""
        tries = self.seconds / sys.getswitchinterval()
        return self.own_ns >= _TRY_NS * tries if self.times is None else self.times >= tries / 2


class Snapshot(NamedTuple):
    """What the threads had done at a time.

    Attributes
    ----------
    at : int
        When that was, in ns of `time.perf_counter_ns`.
    used : dict of int to int
        The CPU time that each had used, by native id, as :class:`Look` says.
    places : dict of int to tuple
        Where in its code each was, by thread identifier.
    """

    at: int
    used: dict[int, int]
    places: dict[int, tuple[int, int]]


class Suspect(NamedTuple):
    """A task that ran during a stall.

    Attributes
    ----------
    computed : bool
        Whether its worker used the CPU.
    moved : bool
        Whether it did anything meanwhile.
    task : Task or EndedTask
        The task.
    regulator : Regulator
        Its pool's.
    worker : Worker
        Its worker.
    """

    computed: bool
    moved: bool
    task: Task | EndedTask
    regulator: Regulator
    worker: Worker


class OpenCase(NamedTuple):
    """A task that ran during a stall, and what it used will be known when it has ended. It does not keep the item."""

    regulator: Regulator
    worker: Worker
    begun: int
    stall_ns: int


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
        # The last of them may be from after a stall that began when this thread was about to look.
        self._snapshots: deque[Snapshot] = deque(maxlen=3)
        self._open_cases: list[OpenCase] = []

    def wake(self) -> None:
        """Let the thread look, from what the threads have done so far: the task that begins now may take the GIL."""
        self._woken_at = self._looked_at = time.perf_counter_ns()
        self._used_at_look = self._read_used()
        self._record(self._used_at_look, {})
        self._work.set()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped = True
        self._stopping.release()
        self._work.set()

    def run(self) -> None:
        """Watch while tasks run."""
        while not self._stopped:
            times, used_ns = backend.thread_waits(), time.thread_time_ns()
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
        with backend.cpu_delay() as delay:
            # The first beat is due at once: the task that woke this thread may have taken the GIL before it got there.
            period, last, delayed = 0, self._woken_at, delay()
            while quiet < _PATIENCE_BEATS:
                # From the last beat on, whatever this thread has done since, so that no stall falls in between.
                due = last + period
                if backend.pause(self._stopping, max(due - time.perf_counter_ns(), 0) / 1e9):
                    return
                # All counters at the same time: what follows gives the GIL away, and may wait for it.
                last, now_times, now_used = time.perf_counter_ns(), backend.thread_waits(), time.thread_time_ns()
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
        if self._open_cases:
            self._open_cases = [case for case in self._open_cases if not _close_case(case)]
        if wait.seconds >= min((regulator.stall_s for regulator in self._controller.regulators), default=math.inf):
            self._find_culprit(wait)
        if busy:
            self._controller.waits_s.append(wait.seconds)
            for regulator in busy:
                regulator.beat(wait.seconds)
            self._remember([worker for regulator in busy for worker in regulator.gate.running])

    def _remember(self, workers: list[Worker]) -> None:
        """Take note of what is needed to tell, after a stall, which of these workers it was."""
        places = _places()
        if TELLS_CPU_TIME:
            self._record({**self._snapshots[-1].used, **_cpu_times(worker.native_id for worker in workers)}, places)
        else:
            self._record(self._read_used(), places)

    def _record(self, used: dict[int, int], places: dict[int, tuple[int, int]]) -> None:
        self._snapshots.append(Snapshot(time.perf_counter_ns(), used, places))

    def _look(self) -> None:
        before, since = self._used_at_look, self._looked_at
        self._looked_at = time.perf_counter_ns()
        self._used_at_look = self._read_used()
        self._record(self._used_at_look, self._snapshots[-1].places)
        used = {tid: now - before.get(tid, now) for tid, now in self._used_at_look.items()}
        for regulator in list(self._controller.regulators):
            regulator.look(Look(since, self._looked_at - since, used))

    def _read_used(self) -> dict[int, int]:
        """Return the CPU time of each Python thread, this one excepted, by native id, as :class:`Look` says."""
        if not TELLS_CPU_TIME:
            workers = [worker for regulator in self._controller.regulators for worker in regulator.gate.workers]
            used = {worker.native_id: worker.used_ns for worker in workers}
            return {**used, _REST: time.process_time_ns() - sum(used.values())}
        return _cpu_times(thread.native_id for thread in threading.enumerate() if thread is not self)

    def _find_culprit(self, wait: Wait) -> None:
        """Tell the pool whose task kept the GIL all that time, if it was one."""
        now = time.perf_counter_ns()
        middle = now - wait.ns // 2
        before = next((each for each in reversed(self._snapshots) if each.at <= middle), self._snapshots[0])
        if now - before.at > wait.ns + 3 * max(wait.period_ns, _PERIOD_NS):
            return  # another stall came right before this one: in which of them CPU time was used cannot be told
        places = _places()
        used = {tid: time_used - before.used.get(tid, 0) for tid, time_used in self._read_used().items()}
        suspects: list[Suspect] = []
        for regulator in list(self._controller.regulators):
            for worker in regulator.gate.workers:
                task = worker.task_at(middle)
                if task is not None and wait.seconds >= regulator.stall_s:
                    computed = used.pop(worker.native_id, 0) >= wait.ns // 2
                    # Who is where it was, and was not waiting for the GIL, was in a call that had released it. (Not who
                    # has done its task meanwhile, and is back where it waits for the next.)
                    moved = isinstance(task, EndedTask) or before.places.get(worker.ident) != places.get(worker.ident)
                    suspects.append(Suspect(computed, moved, task, regulator, worker))
        if not suspects:
            return
        culprit = max(suspects, key=lambda suspect: (suspect.computed, suspect.moved, suspect.task.begun))
        if culprit.computed or self._may_have_kept_gil(culprit, suspects, used, wait):
            # After the call, its thread kept the GIL for another switch interval.
            seconds = wait.seconds + wait.period_ns / 2e9 - sys.getswitchinterval()
            culprit.regulator.blame(culprit.task.function, min(seconds, (now - culprit.task.begun) / 1e9))

    def _may_have_kept_gil(self, culprit: Suspect, suspects: list[Suspect], used: dict[int, int], wait: Wait) -> bool:
        """Return whether a task that did not compute may have kept the GIL: in a call that sleeps.

        `used` is the CPU time of the threads that are not suspected.
        """
        if TELLS_CPU_TIME:
            return max(used.values(), default=0) < wait.ns // 10 and wait.was_for_gil
        if used[_REST] < wait.ns // 2:
            return culprit.moved
        # Another thread has computed, or a task that is still running.
        running = [suspect for suspect in suspects if isinstance(suspect.task, Task)]
        self._open_cases += [OpenCase(each.regulator, each.worker, each.task.begun, wait.ns) for each in running]
        return False


def _close_case(case: OpenCase) -> bool:
    """Blame a task for a stall if it has ended and must have computed all that time; return whether it has ended."""
    task = case.worker.last_long
    if task is not None and task.begun == case.begun:
        rest_ns = task.ended - task.begun - case.stall_ns
        if task.used_ns - rest_ns >= case.stall_ns // 2:
            case.regulator.blame(task.function, case.stall_ns / 1e9)
        return True
    running = case.worker.task
    return running is None or running.begun != case.begun


def _cpu_times(tids: Iterable[int | None]) -> dict[int, int]:
    """Return the CPU time of each thread, without those of which it is not known."""
    times = {tid: backend.thread_cpu_time(tid) for tid in tids if tid is not None}
    return {tid: used for tid, used in times.items() if used is not None}


def _places() -> dict[int, tuple[int, int]]:
    """Return where in its code each thread is."""
    frames = sys._current_frames()  # noqa: SLF001, documented, for this kind of purpose
    places = {ident: (id(frame), frame.f_lasti) for ident, frame in frames.items()}
    # This frame is among them: they would keep each other alive, and with them what is in the frames of all threads.
    frames.clear()
    return places


controller: Final = Controller()


def has_gil() -> bool:
    """Return whether this interpreter has a GIL in force."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())
