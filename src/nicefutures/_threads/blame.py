"""Whose fault a stall was: which task kept the GIL while every other thread waited for it."""

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from . import cpu_time
from .gate import EndedTask, Task, Worker
from .regulator import PERIOD_S, Regulator

# Who waits for the GIL wakes up every switch interval, and uses about so much CPU time each time.
_TRY_NS: Final = 2_000
_PERIOD_NS: Final = round(PERIOD_S * 1e9)


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
        The CPU time that each had used, as :func:`nicefutures._threads.cpu_time.read_all` tells it.
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


class Pools(Protocol):
    """The pools that may be to blame."""

    @property
    def regulators(self) -> Sequence[Regulator]:
        """Those of the pools that have workers."""


class Blame:
    """Remembers what threads have done lately, and finds the task that kept the GIL during a stall.

    Parameters
    ----------
    pools : Pools
        Those that may be to blame.
    watcher : threading.Thread
        The thread that watches.
    """

    def __init__(self, pools: Pools, watcher: threading.Thread) -> None:
        self._pools = pools
        self._watcher = watcher
        # The last of them may be from after a stall that began when the watcher was about to look.
        self._snapshots: deque[Snapshot] = deque(maxlen=3)
        self._open_cases: list[OpenCase] = []

    def begin(self, used: dict[int, int]) -> None:
        """Begin with what the threads have used so far."""
        self._record(used, {})

    def update(self, used: dict[int, int]) -> None:
        """Take note of what all threads have used."""
        self._record(used, self._snapshots[-1].places)

    def remember(self, workers: Sequence[Worker]) -> None:
        """Take note of what is needed to tell, after a stall, which of these workers it was."""
        places = _places()
        if cpu_time.TOLD:
            used = cpu_time.read_each(worker.native_id for worker in workers)
            self._record({**self._snapshots[-1].used, **used}, places)
        else:
            self._record(self.read_used(), places)

    def _record(self, used: dict[int, int], places: dict[int, tuple[int, int]]) -> None:
        self._snapshots.append(Snapshot(time.perf_counter_ns(), used, places))

    def read_used(self) -> dict[int, int]:
        """Return the CPU time of each Python thread but the watcher, as :func:`cpu_time.read_all` tells it."""
        workers = [worker for regulator in self._pools.regulators for worker in regulator.gate.workers]
        return cpu_time.read_all(workers, self._watcher)

    def close_cases(self) -> None:
        """Look at the tasks of earlier stalls that have ended since."""
        if self._open_cases:
            self._open_cases = [case for case in self._open_cases if not close_case(case)]

    def find_culprit(self, wait: Wait) -> None:
        """Tell the pool whose task kept the GIL all that time, if it was one."""
        now = time.perf_counter_ns()
        middle = now - wait.ns // 2
        before = next((each for each in reversed(self._snapshots) if each.at <= middle), self._snapshots[0])
        if now - before.at > wait.ns + 3 * max(wait.period_ns, _PERIOD_NS):
            return  # another stall came right before this one: in which of them CPU time was used cannot be told
        places = _places()
        used = {tid: time_used - before.used.get(tid, 0) for tid, time_used in self.read_used().items()}
        suspects: list[Suspect] = []
        for regulator in list(self._pools.regulators):
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
        if cpu_time.TOLD:
            return max(used.values(), default=0) < wait.ns // 10 and wait.was_for_gil
        if used[cpu_time.REST] < wait.ns // 2:
            return culprit.moved
        # Another thread has computed, or a task that is still running.
        running = [suspect for suspect in suspects if isinstance(suspect.task, Task)]
        self._open_cases += [OpenCase(each.regulator, each.worker, each.task.begun, wait.ns) for each in running]
        return False


def close_case(case: OpenCase) -> bool:
    """Blame a task for a stall if it has ended and must have computed all that time; return whether it has ended."""
    task = case.worker.last_long
    if task is not None and task.begun == case.begun:
        rest_ns = task.ended - task.begun - case.stall_ns
        if task.used_ns - rest_ns >= case.stall_ns // 2:
            case.regulator.blame(task.function, case.stall_ns / 1e9)
        return True
    running = case.worker.task
    return running is None or running.begun != case.begun


def _places() -> dict[int, tuple[int, int]]:
    """Return where in its code each thread is."""
    frames = sys._current_frames()  # noqa: SLF001, documented, for this kind of purpose
    places = {ident: (id(frame), frame.f_lasti) for ident, frame in frames.items()}
    # This frame is among them: they would keep each other alive, and with them what is in the frames of all threads.
    frames.clear()
    return places
