"""Decides how many workers of a pool may run, from how long a thread has to wait for the GIL beside them.

Some facts:

* The thread that has the GIL gives it up when it waits for something, or, if it runs Python code, when another thread
  has asked for it for a switch interval (``Python/ceval_gil.c``). With k threads that run Python code, a thread that
  wakes up has to wait for about k intervals, and k - 1 of those threads are of no use: they do no more work than one.
* So a thread that sleeps for a while and then needs the GIL tells what any other thread has to put up with: a wait of
  more than an interval, on average, if threads queue.
* If one worker alone keeps the GIL busy all the time, more of them do no more. If it leaves some of it, as it waits for
  something as well, they do. How often the GIL is found free tells which, but only beside one worker: among several it
  is free for a moment whenever it is handed over.

So all workers may run, or one. If threads queue for the GIL because of the pool, it is tried with one; if that is too
few, all run again, and the next trial is later. Nobody has to wait long for a task that others would have begun.
"""

import sys
import time
import types
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from .._system import backend
from . import cpu_time
from .gate import Gate, Worker
from .stats import PoolStats, Stall
from .tasks import count_running

# From one beat of the watching thread to the next, as a rule.
PERIOD_S: Final = 0.020
# How many beats a decision is made of, at most, and how few may do; and how many say that it is worth while to look.
_WINDOW: Final = 24
_FEW: Final = 5
_FIRST: Final = 4
# Waits in short switch intervals. Below the first the GIL was free; who finds it held by one thread's Python code waits
# for 1 and a little; from the second on, on average, threads queue for it.
_FREE: Final = 0.5
_QUEUE: Final = 1.4
# Beside k tasks that do nothing but run Python code, the mean is about k. Where it is less than this share of k, they
# wait for something else much of the time, and one alone would leave the GIL free.
_QUEUE_SHARE: Final = 0.75
# With the switch interval as it is, usually longer, the mean is about that many times k. So little, for each task, is
# no reason to look any closer.
_WORTH_IT: Final = 0.2
# A longer wait counts as so many intervals, and so many for each task: one stall says nothing of the load.
_LONGEST_WAIT: Final = 2.0
# Of a window: so many beats that found the GIL free beside one worker are no chance, if they are such a share, too.
# Beside several workers up to that share are a chance, for the GIL is handed over; and from such a share on they would
# do with more.
_TOO_FREE: Final = 4
_HANDED_OVER: Final = 0.25
_IDLE: Final = 0.4
# From such a mean wait on, the GIL is held nearly all the time.
_HELD: Final = 0.9
# Where the system does not tell who uses the CPU: one worker that does less than this share of the tasks that all did
# is too few. If that is in a number of tasks, in a window, that is no chance.
_FEWER: Final = 0.6
_MANY_TASKS: Final = 4
# Seconds until one worker is tried again, after that was too few or would be, at least and at most. They double if that
# is so again within so many seconds after. After it was right for longer than that, they are few.
_SHORTEST_HOLD_S: Final = 0.25
_LONGEST_HOLD_S: Final = 16.0
_SOON_S: Final = 4.0
_TRIAL_S: Final = 0.5
_AFTER_LONG_S: Final = 0.1
# Beats without a task taken, until those that wait for one are let through.
_VAIN_BEATS: Final = 4
# Share of the CPU time of all Python threads below which a pool is not who keeps the GIL.
_MINOR_SHARE: Final = 0.25
# CPU time over time: threads that all need the GIL use one core together. (Where the time is told in cycles, this takes
# less for more, and a pool beside another busy thread is not limited.)
_MUCH: Final = 0.5
_MORE_THAN_ONE: Final = 1.3
# A stall worth naming, in targets, and how many functions are kept.
_STALL_TARGETS: Final = 10
_STALLS_KEPT: Final = 10
# Switch intervals per target: who waits does so for one, and for whoever comes first.
_INTERVALS_PER_TARGET: Final = 5
# Windows rounds what is shorter down to nothing (`Python/condvar.h`).
_SHORTEST_INTERVAL_S: Final = 0.001


class Look(NamedTuple):
    """What the threads did since the last look.

    Attributes
    ----------
    elapsed_ns : int
        How long ago that was.
    used : mapping of int to int
        CPU time that each Python thread used, as :func:`nicefutures._threads.cpu_time.read_all` tells it.
    """

    elapsed_ns: int
    used: Mapping[int, int]

    def is_due_to(self, workers: Sequence[Worker]) -> bool:
        """Return whether it may be these workers who keep the GIL busy, now that it is.

        They are all of the pool: where many take turns, those that have a task just now may have done next to nothing.
        """
        if not cpu_time.TOLD:
            return True
        total = sum(self.used.values())
        ours = sum(self.used.get(worker.native_id, 0) for worker in workers)
        others = total - ours
        if others >= _MUCH * self.elapsed_ns and total >= _MORE_THAN_ONE * self.elapsed_ns:
            return False  # together they did more than the GIL lets them: others keep it, and these release it
        # Who has the GIL uses a core, unless it has no CPU.
        return ours >= _MINOR_SHARE * total or self.shows_no_cpu(workers)

    def shows_no_cpu(self, workers: Sequence[Worker]) -> bool:
        """Return whether other programs leave no CPU for these workers: one is ready to run, and they hardly do."""
        return sum(self.used.values()) < _MUCH * self.elapsed_ns and any(
            backend.accounting.is_ready(worker.native_id) for worker in workers
        )


class Watching(Protocol):
    """Who watches for all pools; see :class:`nicefutures._threads.controller.Controller`."""

    @property
    def waits_s(self) -> Sequence[float]:
        """How long the last beats had to wait for the GIL, in s."""

    def add(self, regulator: "Regulator") -> None:
        """Watch for a pool."""

    def end_soon(self) -> None:
        """Look whether pools have no workers any more, from now on: one has been shut down."""

    def remove(self, regulator: "Regulator") -> None:
        """Watch no more for a pool."""


class Regulator:
    """Sets the limit of one pool's gate.

    Parameters
    ----------
    gate : Gate
        That of the pool.
    target : float
        Seconds that another thread may wait for the GIL because of this pool.
    controller : Watching
        Who watches.
    """

    # Here, for to set them costs time that a pool for a few tasks only does not have.
    _hold_s = _SHORTEST_HOLD_S
    _held_until = _narrowed_at = 0.0
    # Whether a short switch interval is of use, to find out what the tasks do.
    _examines = True
    _drains = _no_cpu = False
    _running = _vain = _taken_at = 0
    _interval_s = 0.0  # when the last beat came
    _rate_before = 0.0  # of tasks, when the trial began, in 1/s
    _stalls: Mapping[str, Stall] = types.MappingProxyType({})

    def __init__(self, gate: Gate, target: float, controller: Watching) -> None:
        self.gate = gate
        self._controller = controller
        self._short_interval_s = max(target / _INTERVALS_PER_TARGET, _SHORTEST_INTERVAL_S)
        # The wait for the GIL begins up to a period after the stall did.
        self.stall_s = max(_STALL_TARGETS * target - PERIOD_S, PERIOD_S)
        self._waits: deque[float] = deque(maxlen=_WINDOW)
        # When the last beats came, in s, and how many tasks had been done; empty where nobody needs to know.
        self._done: deque[tuple[float, int]] = deque(maxlen=_WINDOW)
        gate.watch = self

    def begin(self) -> None:
        """Watch: there is a worker."""
        self._controller.add(self)

    def end_soon(self) -> None:
        """Watch until there is no worker."""
        self._controller.end_soon()

    def end(self) -> None:
        """Watch no more: there is no worker."""
        self._controller.remove(self)

    def beat(self, waited_s: float, running: int) -> None:
        """Take note of how long a beat waited for the GIL beside so many tasks; let all run if one is too few."""
        interval_s = sys.getswitchinterval()
        if interval_s != self._interval_s:
            self._interval_s = interval_s
            self._waits.clear()
        wait = min(waited_s / self._short_interval_s, _LONGEST_WAIT * (running + 1))
        # A wait that swallowed beats counts for each of them.
        self._waits.extend([wait] * (1 + min(int(waited_s / PERIOD_S), _WINDOW)))
        self._running = running
        if not cpu_time.TOLD:
            self._done.append((time.monotonic(), self.gate.tasks_done(running)))
        if self._drains and running <= self.gate.limit:
            self._drains = False  # those that ran when the trial began have come to an end
            self._forget()
        # Where other programs leave no CPU, the GIL is free because nobody gets there to take it.
        too_free = not (self._no_cpu and self.needs_look) and self._free >= max(
            _TOO_FREE, (_IDLE if self._drains else _HANDED_OVER) * len(self._waits)
        )
        # In beats as well as in time: where other programs leave no CPU, neither tasks nor beats get on.
        self._vain = self._vain + 1 if self.gate.taken_at == self._taken_at else 0
        self._taken_at = self.gate.taken_at
        starving = self.gate.is_starving and self._vain >= _VAIN_BEATS
        if starving or (self.gate.is_holding_back and (too_free or self._does_less)):
            self._end_trial(starving)
        elif self._examines:
            self._examines = len(self._waits) < _WINDOW or self._mean_wait >= _HELD
        elif len(self._waits) >= _FIRST and time.monotonic() >= self._held_until:
            self._examines = self._mean_wait >= max(_HELD, _WORTH_IT * running)

    def _forget(self) -> None:
        self._waits.clear()
        self._done.clear()

    @property
    def _rate(self) -> float:
        """Tasks per second in the last beats, 0 if they are too few to say; only where CPU times are not told."""
        if not self._done:
            return 0.0
        (since_s, done_before), (now_s, done) = self._done[0], self._done[-1]
        return (done - done_before) / (now_s - since_s) if done - done_before >= _MANY_TASKS else 0.0

    @property
    def _does_less(self) -> bool:
        """Whether one worker does fewer tasks than all did."""
        return not self._drains and len(self._done) == _WINDOW and self._rate < _FEWER * self._rate_before

    def _end_trial(self, starving: bool) -> None:
        """Let all workers run again."""
        if time.monotonic() - self._narrowed_at > _SOON_S:  # it was right for long: that may be a chance
            self._held_until, self._examines = time.monotonic() + _AFTER_LONG_S, True
        else:
            self._hold(examines=starving)
        self.open()

    def _hold(self, examines: bool) -> None:
        """Put off the next trial, with a short switch interval meanwhile or without."""
        now = time.monotonic()
        again = now - self._held_until < _SOON_S
        self._hold_s = min(self._hold_s * 2, _LONGEST_HOLD_S) if again else _SHORTEST_HOLD_S
        self._held_until = now + self._hold_s
        self._examines = examines

    @property
    def interval_s(self) -> float | None:
        """The switch interval that the pool needs, in s; None if it may be what it is.

        A short one is for tasks that run Python code, and to find out whether they do. Others do less work with it, for
        it cuts up what they do between two waits.
        """
        short = self._examines or self.gate.limit == 1 or self._running <= 1
        return self._short_interval_s if short else None

    @property
    def is_open(self) -> bool:
        """Whether all workers may run."""
        return self.gate.limit == self.gate.width

    @property
    def is_deciding(self) -> bool:
        """Whether more beats would help to decide: threads wait for the GIL while all run, or a trial begins."""
        if self.is_open:
            return self.gate.width > 1 and bool(self._waits) and self._waits[-1] >= _FREE
        return time.monotonic() - self._narrowed_at < _TRIAL_S

    @property
    def needs_look(self) -> bool:
        """Whether it is of use to know who has used the CPU."""
        return len(self._waits) > 1 and (self.gate.lifted or self._mean_wait >= _HELD)

    def look(self, look: Look) -> None:
        """Let one task run if those that do make threads queue for the GIL, and lift workers if they keep it."""
        self._no_cpu = cpu_time.TOLD and look.shows_no_cpu(self.gate.workers)
        if self._mean_wait < _HELD or not look.is_due_to(self.gate.workers):
            self._set(self.gate.limit, lifted=False)
            return
        limit = self.gate.limit
        may_try = self._examines and len(self._waits) >= _FEW and time.monotonic() >= self._held_until
        if may_try and min(limit, self._running) > 1 and self._mean_wait >= _QUEUE:
            if self._mean_wait >= _QUEUE_SHARE * self._running and self._free <= _HANDED_OVER * len(self._waits):
                limit, self._drains, self._narrowed_at = 1, True, time.monotonic()
                self._rate_before = self._rate
            elif len(self._waits) == _WINDOW:
                self._hold(examines=False)
        self._set(limit, lifted=True)

    @property
    def _mean_wait(self) -> float:
        return sum(self._waits) / max(len(self._waits), 1)

    @property
    def _free(self) -> int:
        return sum(wait < _FREE for wait in self._waits)

    def _set(self, limit: int, lifted: bool) -> None:
        lifted = lifted and self.gate.lift is not None
        if (limit, lifted) != (self.gate.limit, self.gate.lifted):
            if limit != self.gate.limit:
                self._forget()
            self.gate.set_limit(limit, lifted)

    def open(self) -> None:
        """Let all workers through: nobody watches."""
        self._set(self.gate.width, self.gate.lifted)

    def reset_after_fork(self) -> None:
        """Begin anew in a forked child, which has none of the workers."""
        self._forget()
        self.gate.reset_after_fork()

    def blame(self, name: str, seconds: float) -> bool:
        """Take note of a function that stalled the interpreter; return whether it is new."""
        known = self._stalls.get(name)
        times, longest = (known.times, known.seconds) if known else (0, 0.0)
        stalls = {**self._stalls, name: Stall(name, max(seconds, longest), times + 1)}
        self._stalls = dict(sorted(stalls.items(), key=lambda item: -item[1].seconds)[:_STALLS_KEPT])
        return known is None

    @property
    def stalls(self) -> list[Stall]:
        """The functions that stalled the interpreter, the worst one first."""
        return list(self._stalls.values())

    @property
    def stats(self) -> PoolStats:
        """The pool's figures."""
        waits = sorted(self._controller.waits_s)
        p50, p99 = (waits[round(share * (len(waits) - 1))] if waits else None for share in (0.5, 0.99))
        idents = [worker.ident for worker in self.gate.workers]
        return stats_of(self.gate, idents)._replace(gil_wait_p50=p50, gil_wait_p99=p99)


def stats_of(gate: Gate, idents: Sequence[int | None]) -> PoolStats:
    """Return the figures of a pool that nobody watches, with such threads."""
    running = count_running(idents)
    lifted = gate.lifted and gate.lift is not None
    return PoolStats(gate.limit, running, None, None, gate.tasks_done(running), lifted)
