"""Decides how many workers of a pool may run tasks, from how the tasks use the GIL and the CPU.

The GIL lets one thread at a time run Python code. With k such threads, a GUI window that wakes up waits for about k
switch intervals, and k - 1 of the threads do not help. So one worker runs, and more are let in only if

* the workers together use more than one CPU: the tasks release the GIL, or
* the workers and threads of libraries such as BLAS use more than one CPU together, while the GIL is free, or
* one worker uses a CPU, and the watching thread seldom waits for the GIL: the task releases it, or
* a worker uses no CPU for a while: its task waits, even if other threads keep the GIL busy, or
* all Python threads together leave a part of one CPU unused: the tasks wait some of the time.

The waits of the watching thread do not tell how many threads queue for the GIL. Python does not hand the GIL over in
order, so the waits vary as much as their mean. CPU times do not have this noise.

The figures below were measured on two CPUs with Python 3.11, 3.13 and 3.14, while a GUI window drew for 0, 2 or 5 ms a
frame. Tasks were pure Python, matrix products, ``exp``, and Python code with waits in between (docs/latency.md).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from .._system import backend
from .gate import Gate, Worker
from .stalls import Stalls

# Seconds between two beats of the watching thread, the fewest beats in a window, and its seconds. A window with fewer
# beats ends after twice that time: a change is seen within 0.1 s even if the beats are far apart.
PERIOD_S: Final = 0.010
_BEATS: Final = 3
_WINDOW_S: Final = 0.050
# CPUs that the workers use together. Products and exp in two workers: 1.4 to 2.0; pure Python in four: 0.7 to 1.07.
_MORE_THAN_ONE: Final = 1.25
# Idle share of one CPU, times the running tasks. Pure Python: up to 0.05 in 90 % of the windows. 10 ms of waiting and
# 10 ms of Python: 0.2 to 0.4 in one worker, up to 0.2 in three; 1 ms of waiting and 2 ms of Python: 0.15 to 0.3 in one.
_SPARE: Final = 0.1
# Share of the last beats, about eight, that found the GIL free. Products and exp in one worker: 0.64 to 0.97, pure
# Python: 0 to 0.14. If tasks wait, it is about the share for which a CPU is idle.
_FREE: Final = 0.4
# Share of a window that counts as no CPU time of a worker if it used less. A waiting task used up to 0.005, and a task
# that queued for the GIL with three others 0.25.
_NO_CPU: Final = 0.01
# Seconds without a sign that one more worker helps, until fewer are tried; and the longest such time, used if the sign
# came back soon after a trial.
_CALM_S: Final = 0.1
_LONGEST_CALM_S: Final = 1.6
# Seconds in which no task is taken, although tasks and workers wait, until all workers are let in: the limit should
# delay a task by at most a quarter of a second. With less, tasks of 0.1 s would count while a GUI window draws.
_STARVING_S: Final = 0.25


class Beat(NamedTuple):
    """Results of a beat of the watching thread."""

    elapsed_s: float  # since the previous beat
    found_free: bool  # the watching thread hardly waited for the GIL
    # CPU time of each Python thread, and of the watching thread, since the previous beat, by native id; empty if the
    # system does not tell.
    used_s: Mapping[int, float]
    others_s: float = 0.0  # CPU time of all other threads of the process, which belong to libraries


class _Window:
    """The sum of a few beats."""

    def __init__(self) -> None:
        self.beats = 0
        self.elapsed_s = 0.0
        self.others_s = 0.0
        self.used_s: Counter[int] = Counter()  # the values are floats
        self.running: set[Worker] = set()  # at each of the beats
        # How long each thread had been ready to run without a CPU at the start of this window, in ns; None: not read.
        self.delays: Mapping[int, int] | None = None

    @property
    def is_over(self) -> bool:
        return self.elapsed_s >= (_WINDOW_S if self.beats >= _BEATS else 2 * _WINDOW_S)

    def add(self, beat: Beat, running: Iterable[Worker]) -> None:
        self.running = self.running.intersection(running) if self.beats else set(running)
        self.beats += 1
        self.elapsed_s += beat.elapsed_s
        self.others_s += beat.others_s
        self.used_s.update(beat.used_s)

    def cpus(self, workers: Iterable[Worker] | None) -> float:
        """Return how many CPUs these workers used; None means all threads."""
        used_s = self.used_s.values() if workers is None else [self.used_s[worker.native_id] for worker in workers]
        return sum(used_s) / self.elapsed_s

    def read_delays(self) -> dict[int, int]:
        busy = [tid for tid, used_s in self.used_s.items() if used_s > _NO_CPU * self.elapsed_s]
        return {tid: backend.accounting.thread_cpu_delay(tid) for tid in busy}


class Regulator:
    """Sets the limit of one pool's gate.

    The target is the time in s that another thread may have to wait for the GIL because of this pool.
    """

    _taken_at = 0

    def __init__(self, gate: Gate, target: float) -> None:
        self.gate = gate
        # A GUI window waits for one interval, and for the CPU. On Windows, less than 1 ms is rounded down to 0
        # (Python/condvar.h).
        self._interval_s = max(target / 5, 0.001)
        self.stalls = Stalls(target)
        self._forget()
        gate.limit = 1

    def _forget(self) -> None:
        """Forget all measurements of tasks."""
        self._window = _Window()
        self._free = 0.5
        self._more = 0
        self._waiting: set[Worker] = set()
        self._calm_s = self._vain_s = 0.0
        self._patience_s, self._has_tried_fewer = _CALM_S, False

    @property
    def interval_s(self) -> float:
        """The switch interval that the pool needs, in s.

        A short interval splits the work that tasks do between two waits, so it is longer while such tasks run.
        """
        return self._interval_s * (1 + self._more)

    def beat(self, beat: Beat) -> None:
        """Set the limit from this beat and the previous ones."""
        self._end_starving(beat)
        if running := self.gate.running:
            self._window.add(beat, running)
            self._free += (beat.found_free - self._free) / 8
            if self._window.is_over:
                window, self._window = self._window, _Window()
                self._judge(window, running)
            elif self._waiting:
                # All of them may continue at once, so this cannot wait for the end of the window.
                much = 10 * _NO_CPU * beat.elapsed_s
                self._waiting = {each for each in self._waiting if beat.used_s.get(each.native_id, 0.0) < much}
                self._set(min(self._rule, self.gate.limit))

    @property
    def _rule(self) -> int:
        return 1 + self._more + 2 * len(self._waiting)

    def _judge(self, window: _Window, running: list[Worker]) -> None:
        # Workers take turns, so the CPU time of workers that have no task now counts as well.
        ours, free = window.cpus(self.gate.workers), self._free
        told = bool(window.used_s)
        # A GUI window may have such threads as well, while the tasks need the GIL.
        libraries = window.others_s / window.elapsed_s if free >= _FREE else 0.0
        if ours + libraries >= _MORE_THAN_ONE:
            self._more, self._waiting, self.gate.lifted = 0, set(), False
            self._set(self.gate.width)
            return
        # Without CPU times: the GIL is free as often as a CPU is idle or a task releases the GIL.
        idle = 1 - window.cpus(None) if told else free - 2 * _SPARE
        seems_idle = free >= _FREE * idle  # otherwise a thread has the GIL, but no CPU
        self._waiting = set()
        if told and seems_idle:
            self._waiting.update(each for each in window.running if window.cpus([each]) < _NO_CPU)
        tasks = len(running) - len(self._waiting)
        self._calm_s += window.elapsed_s
        if len(running) < self.gate.limit:
            pass  # a higher limit would let in no more
        elif tasks == 1 and free >= _FREE and ours > 1 - 2 * _SPARE:
            self._let_more_in(1)
        elif self._more or tasks * idle > _SPARE:
            # A thread that is ready to run may have no CPU. That time is known from the second such window on.
            self._window.delays = delays = window.read_delays()
            if window.delays is not None:
                before = window.delays
                delayed = sum(now - before.get(tid, now) for tid, now in delays.items()) / 1e9 / window.elapsed_s
                if tasks * (idle - delayed) > _SPARE and seems_idle:
                    # As many as would use the rest of the CPU if their tasks are like the running ones, and one more.
                    self._let_more_in(1 + round(tasks * min((idle - delayed) / max(ours, _NO_CPU), 2.0)))
                elif tasks and free >= _FREE and ours + delayed > 1 - 2 * _SPARE:
                    self._let_more_in(1)  # tasks release the GIL, and other programs leave them no CPU
        if self._more and self._calm_s >= self._patience_s:
            self._more -= -(-self._more // 4)
            self._calm_s, self._patience_s = 0.0, max(self._patience_s / 2, _CALM_S)
            self._has_tried_fewer = True
        self.gate.lifted = self._rule == 1 and self.gate.lift is not None
        self._set(self._rule)

    def _let_more_in(self, count: int) -> None:
        if self._has_tried_fewer and self._calm_s < 4 * _CALM_S:
            self._patience_s = _LONGEST_CALM_S  # they are needed all the time
        self._has_tried_fewer = False
        self._more = min(self._more + count, self.gate.width)
        self._calm_s = 0.0

    def _end_starving(self, beat: Beat) -> None:
        """Let in all workers if no task was taken for long: the running tasks may wait for the next one, or never end.

        A beat counts for at most five periods: if other programs leave no CPU, tasks make no progress either.
        """
        vain = self.gate.is_holding_back and self.gate.taken_at == self._taken_at
        self._vain_s = self._vain_s + min(beat.elapsed_s, 5 * PERIOD_S) if vain else 0.0
        self._taken_at = self.gate.taken_at
        if self._vain_s >= _STARVING_S:
            self._vain_s = 0.0
            self.gate.let_in()

    def _set(self, limit: int) -> None:
        limit = min(limit, self.gate.width)
        if limit != self.gate.limit:
            self.gate.set_limit(limit)

    def rest(self) -> None:
        """Forget the measurements of the last tasks: no task runs, and the next ones may be different."""
        self._forget()
        self._set(1)

    def open(self) -> None:
        """Let in all workers, because nothing watches the pool."""
        self._set(self.gate.width)
