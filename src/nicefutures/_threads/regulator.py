"""Decides how many workers of a pool may run, from how long a thread has to wait for the GIL beside them.

Some facts:

* The thread that has the GIL gives it up when it waits for something, or, if it runs Python code, when another thread
  has asked for it for a switch interval (``Python/ceval_gil.c``). With k threads that run Python code, a thread that
  wakes up has to wait for about k intervals, and k - 1 of those threads are of no use: they do no more work than one.
* So a thread that sleeps for a while and then needs the GIL tells what any other thread has to put up with. If it had
  to wait, somebody ran Python code or a C call that keeps the GIL. Under work that releases it there is hardly a wait.
* Workers that wait for something else, such as a lock, a socket or each other, use no CPU. They do not count, so in the
  end as many tasks run as there are workers.
"""

import logging
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from .._system import backend
from . import cpu_time
from .gate import Gate, Worker
from .stats import PoolStats, Stall, stats_of

_LOGGER: Final = logging.getLogger("nicefutures")

# From one beat of the watching thread to the next, as a rule.
PERIOD_S: Final = 0.020
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


class Look(NamedTuple):
    """What the threads did since the last look.

    Attributes
    ----------
    since : int
        When that was, in ns of `time.perf_counter_ns`.
    elapsed_ns : int
        How long ago.
    used : mapping of int to int
        CPU time that each Python thread used, as :func:`nicefutures._threads.cpu_time.read_all` tells it.
    """

    since: int
    elapsed_ns: int
    used: Mapping[int, int]

    def is_due_to(self, workers: Sequence[Worker]) -> bool:
        """Return whether it may be these workers who keep the GIL busy, now that it is.

        They are all of the pool: where many take turns, those that have a task just now may have done next to nothing.
        """
        total = sum(self.used.values())
        ours = sum(self.used.get(worker.native_id, 0) for worker in workers)
        others = total - ours
        if others >= _MUCH * self.elapsed_ns and total >= _MORE_THAN_ONE * self.elapsed_ns:
            return False  # together they did more than the GIL lets them: others keep it, and these release it
        # Who has the GIL uses a core, unless it has no CPU: then it is a worker that is ready to run, and starved.
        starved = total < _MUCH * self.elapsed_ns
        return ours >= _MINOR_SHARE * total or (
            starved and any(backend.accounting.is_ready(w.native_id) for w in workers)
        )

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
        if not cpu_time.TOLD:
            return True  # better too many run than too few
        fair = sum(self.used.values()) / among
        used = self.used.get(worker.native_id, 0)
        return used <= fair * _WAITING_SHARE and not backend.accounting.is_ready(worker.native_id)


class Watching(Protocol):
    """Who watches for all pools; see :class:`nicefutures._threads.controller.Controller`."""

    @property
    def awake(self) -> bool:
        """Whether a task that begins is noticed without a call of `wake`."""

    @property
    def waits_s(self) -> Iterable[float]:
        """How long the last beats had to wait for the GIL, in s."""

    def wake(self) -> None:
        """Look, for there is a task."""

    def add(self, regulator: "Regulator") -> None:
        """Watch for a pool."""

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

    def __init__(self, gate: Gate, target: float, controller: Watching) -> None:
        self.gate = gate
        self._controller = controller
        self.interval_s = max(target / _INTERVALS_PER_TARGET, _SHORTEST_INTERVAL_S)
        # The wait for the GIL begins up to a period after the stall did.
        self.stall_s = max(_STALL_TARGETS * target - PERIOD_S, PERIOD_S)
        gate.watch, gate.long_ns = self, self.stall_s * 1e9
        gate.counts_cpu = not cpu_time.TOLD
        self._limit = gate.width
        self._waits: deque[float] = deque(maxlen=_RECENT_BEATS)
        self._stalls: dict[str, Stall] = {}

    @property
    def awake(self) -> bool:
        """Whether a task that begins is noticed."""
        return self._controller.awake

    def wake(self) -> None:
        """Take notice of a task that has begun."""
        self._controller.wake()

    def begin(self) -> None:
        """Watch: there is a worker."""
        self._controller.add(self)

    def end(self) -> None:
        """Watch no more: there is no worker."""
        self._controller.remove(self)

    def beat(self, waited_s: float) -> None:
        """Take note of how long a beat waited for the GIL."""
        # A wait that swallowed beats counts for each of them.
        for _ in range(1 + min(int(waited_s / PERIOD_S), _RECENT_BEATS)):
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
        if wait >= _SATURATED and look.is_due_to(self.gate.workers):
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
            _LOGGER.info(
                "%s kept every other Python thread waiting for about %.0f ms: it does not release the GIL. "
                "LowPriorityProcessPoolExecutor would run it in another process.",
                name,
                seconds * 1e3,
            )
        times, longest = (known.times, known.seconds) if known else (0, 0.0)
        stalls = {**self._stalls, name: Stall(name, max(seconds, longest), times + 1)}
        self._stalls = dict(sorted(stalls.items(), key=lambda item: -item[1].seconds)[:_STALLS_KEPT])

    @property
    def stalls(self) -> list[Stall]:
        """The functions that stalled the interpreter, the worst one first."""
        return list(self._stalls.values())

    @property
    def stats(self) -> PoolStats:
        """The pool's figures."""
        waits = sorted(self._controller.waits_s)
        p50, p99 = (waits[round(share * (len(waits) - 1))] if waits else None for share in (0.5, 0.99))
        return stats_of(self.gate)._replace(gil_wait_p50=p50, gil_wait_p99=p99)
