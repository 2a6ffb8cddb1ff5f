"""Whose fault a stall was: which task kept the GIL while every other thread waited for it."""

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from . import cpu_time
from .gate import Worker
from .regulator import PERIOD_S, Regulator
from .tasks import Frames, Place, current_frames, name_task, place_of

_LOGGER: Final = logging.getLogger("nicefutures")

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
    process_ns : int
        The CPU time that the process had used.
    used : mapping of int to int
        The CPU time that each had used, as :func:`cpu_time.read_all` tells it.
    places : mapping of int to Place
        Where in its code each was, by thread identifier.
    """

    at: int
    process_ns: int
    used: Mapping[int, int]
    places: Mapping[int, Place | None]


class Suspect(NamedTuple):
    """A task that runs after a stall, and may have caused it.

    Attributes
    ----------
    computed : bool
        Whether its worker used the CPU.
    moved : bool
        Whether it did anything meanwhile.
    worker : Worker
        Its worker.
    regulator : Regulator
        Its pool's.
    """

    computed: bool
    moved: bool
    worker: Worker
    regulator: Regulator


class Pools(Protocol):
    """The pools that may be to blame."""

    @property
    def regulators(self) -> Sequence[Regulator]:
        """Those of the pools that have workers."""


class Blame:
    """Remembers what threads have done lately, and finds the task that kept the GIL during a stall.

    A call that has kept the GIL for long has to give it away as soon as it has ended, because others have asked for it:
    the task is still there to be seen.

    Parameters
    ----------
    pools : Pools
        Those that may be to blame.
    """

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        # The last of them may be from after a stall that began when the watcher was about to look.
        self._snapshots: deque[Snapshot] = deque([Snapshot(0, 0, {}, {})], maxlen=3)

    def begin(self, used: Mapping[int, int]) -> None:
        """Begin with the CPU time that the threads have used so far. Workers have done nothing lately."""
        self._snapshots.append(Snapshot(time.perf_counter_ns(), time.process_time_ns(), used, {}))

    def remember(self, used: Mapping[int, int]) -> None:
        """Take note of where all threads are and of their CPU times: that tells, after a stall, which task it was."""
        frames = current_frames()
        places = {ident: place_of(frame) for ident, frame in frames.items()}
        # This frame is among them: they would keep each other alive, and with them what is in all frames.
        frames.clear()
        self._snapshots.append(Snapshot(time.perf_counter_ns(), time.process_time_ns(), used, places))

    def find_culprit(self, wait: Wait) -> None:
        """Tell the pool whose task kept the GIL all that time, if it was one."""
        now = time.perf_counter_ns()
        middle = now - wait.ns // 2
        before = next((each for each in reversed(self._snapshots) if each.at <= middle), self._snapshots[0])
        if now - before.at > wait.ns + 3 * max(wait.period_ns, _PERIOD_NS):
            return  # another stall came right before this one: in which of them CPU time was used cannot be told
        frames = current_frames()
        try:
            suspect = self._find_suspect(wait, before, frames)
            if suspect is not None and (suspect.computed or self._may_have_kept_gil(suspect, wait, before, frames)):
                # After the call, its thread kept the GIL for another switch interval.
                seconds = wait.seconds + wait.period_ns / 2e9 - sys.getswitchinterval()
                _accuse(suspect.regulator, name_task(frames.get(suspect.worker.ident)), seconds)
        finally:
            frames.clear()

    def _find_suspect(self, wait: Wait, before: Snapshot, frames: Frames) -> Suspect | None:
        suspects = []
        for regulator in self._pools.regulators:
            for worker in regulator.gate.running if wait.seconds >= regulator.stalls.shortest_s else ():
                # A thread that is where it was, and was not waiting for the GIL, was in a call that had released it.
                moved = before.places.get(worker.ident) != place_of(frames.get(worker.ident))
                used = cpu_time.read_each([worker.native_id]).get(worker.native_id, 0)
                computed = used - before.used.get(worker.native_id, 0) >= wait.ns // 2
                suspects.append(Suspect(computed, moved, worker, regulator))
        return max(suspects, key=lambda suspect: (suspect.computed, suspect.moved), default=None)

    def _may_have_kept_gil(self, suspect: Suspect, wait: Wait, before: Snapshot, frames: Frames) -> bool:
        """Return whether a task that did not compute may have kept the GIL: in a call that sleeps."""
        ours = {worker.ident for regulator in self._pools.regulators for worker in regulator.gate.workers}
        others = [(thread.ident, thread.native_id) for thread in threading.enumerate() if thread.ident not in ours]
        if cpu_time.TOLD:
            used = cpu_time.read_each(tid for _, tid in others)
            most = max((now - before.used.get(tid, 0) for tid, now in used.items()), default=0)
            return most < wait.ns // 10 and wait.was_for_gil
        if time.process_time_ns() - before.process_ns < wait.ns // 2:
            return suspect.moved
        # Some thread has computed. If it cannot have been another one, it was the task's.
        still = all(before.places.get(ident) == place_of(frames.get(ident)) for ident, _ in others if ident is not None)
        return suspect.moved and still


def _accuse(regulator: Regulator, name: str, seconds: float) -> None:
    """Let a pool know of the function that stalled the interpreter, and the log if it is new."""
    if not regulator.stalls.add(name, seconds):
        return
    text = (
        "%s held the GIL for about %.0f ms and delayed every other Python thread. "
        "Run it in a LowPriorityProcessPoolExecutor instead."
    )
    # In a thread that `threading` knows: logging would make it know this one, and for good up to Python 3.12.
    log = threading.Thread(target=_LOGGER.info, args=(text, name, seconds * 1e3), name="nicefutures", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads
        log.start()
