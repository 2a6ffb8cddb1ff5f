"""Finds the cause of a stall: the task that kept the GIL while every other thread waited for it."""

import contextlib
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from .._originals import now_ns
from . import cpu_time
from .gate import Worker
from .regulator import PERIOD_S, Regulator
from .tasks import Frames, Place, current_frames, name_task, place_of

_LOGGER: Final = logging.getLogger("nicefutures")

# A thread that waits for the GIL wakes up every switch interval, and uses about this much CPU time each time.
_TRY_NS: Final = 2_000
_PERIOD_NS: Final = round(PERIOD_S * 1e9)


class Wait(NamedTuple):
    """A wait of the watching thread for the GIL."""

    ns: int  # duration of the wait
    period_ns: int  # how long the thread had slept before; at some time during this, another thread took the GIL
    own_ns: int  # CPU time that the thread used
    times: int | None  # how often the thread began to wait, for any reason; None if unknown

    @property
    def seconds(self) -> float:
        """Duration of the wait in s."""
        return self.ns / 1e9

    @property
    def was_for_gil(self) -> bool:
        """Whether this was a wait for the GIL, which wakes up every interval, and not a stopped process."""
        tries = self.seconds / sys.getswitchinterval()
        return self.own_ns >= _TRY_NS * tries if self.times is None else self.times >= tries / 2


class Snapshot(NamedTuple):
    """The state of the threads at a time."""

    at: int  # in ns of `now_ns`
    process_ns: int  # CPU time of the process so far
    used: Mapping[int, int]  # CPU time of each thread so far, as :func:`cpu_time.read_all` returns it
    places: Mapping[int, Place | None]  # position of each thread in its code, by thread identifier


class Blame:
    """Remembers what threads have done lately, and finds the task that kept the GIL during a stall.

    A call that has kept the GIL for long must release the GIL as soon as the call ends, because other threads have
    requested it. So the task is still on its worker's stack.
    """

    def __init__(self, regulators: Sequence[Regulator]) -> None:
        self._regulators = regulators  # those of the pools that have workers at any time
        # The last one may be from after the stall, if the stall began just before the watcher took it.
        self._snapshots: deque[Snapshot] = deque([Snapshot(0, 0, {}, {})], maxlen=3)

    def begin(self, used: Mapping[int, int]) -> None:
        """Add a snapshot of CPU times only: after a stall, or when workers have done nothing lately."""
        self._snapshots.append(Snapshot(now_ns(), time.process_time_ns(), used, {}))

    def remember(self, used: Mapping[int, int]) -> None:
        """Add a snapshot of places and CPU times of all threads, which tells after a stall which task was the cause."""
        frames = current_frames()
        places = {ident: place_of(frame) for ident, frame in frames.items()}
        # This frame is among them: it and the dict would keep each other alive, and the objects of all frames.
        frames.clear()
        self._snapshots.append(Snapshot(now_ns(), time.process_time_ns(), used, places))

    def find_culprit(self, wait: Wait) -> None:
        """Find the task that kept the GIL all that time, if there is one, and tell its pool."""
        now = now_ns()
        middle = now - wait.ns // 2
        before = next((each for each in reversed(self._snapshots) if each.at <= middle), self._snapshots[0])
        if now - before.at > wait.ns + 3 * max(wait.period_ns, _PERIOD_NS):
            return  # another stall came right before this one: which of them used the CPU time is unknown
        frames = current_frames()
        try:
            suspects = self._list_suspects(wait, before, frames)
            if not suspects:
                return
            computed, moved, worker, regulator = max(suspects, key=lambda suspect: suspect[:2])
            if computed or self._may_have_kept_gil(moved, wait, before, frames):
                # After the call, its thread kept the GIL for another switch interval.
                seconds = wait.seconds + wait.period_ns / 2e9 - sys.getswitchinterval()
                _accuse(regulator, name_task(frames.get(worker.ident)), seconds)
        finally:
            frames.clear()

    def _list_suspects(
        self, wait: Wait, before: Snapshot, frames: Frames
    ) -> list[tuple[bool, bool, Worker, Regulator]]:
        """Return all running tasks: whether each one used the CPU and has moved, its worker, and its pool."""
        suspects = []
        for regulator in self._regulators:
            for worker in regulator.gate.running if wait.seconds >= regulator.stalls.shortest_s else ():
                # A thread that has not moved, and did not wait for the GIL, was in a call that had released the GIL.
                moved = before.places.get(worker.ident) != place_of(frames.get(worker.ident))
                used = cpu_time.read_each([worker.native_id]).get(worker.native_id, 0)
                computed = used - before.used.get(worker.native_id, 0) >= wait.ns // 2
                suspects.append((computed, moved, worker, regulator))
        return suspects

    def _may_have_kept_gil(self, moved: bool, wait: Wait, before: Snapshot, frames: Frames) -> bool:
        """Return whether a task that did not compute may have kept the GIL: in a call that sleeps."""
        ours = {worker.ident for regulator in self._regulators for worker in regulator.gate.workers}
        others = [(thread.ident, thread.native_id) for thread in threading.enumerate() if thread.ident not in ours]
        if cpu_time.TOLD:
            used = cpu_time.read_each(tid for _, tid in others)
            most = max((now - before.used.get(tid, 0) for tid, now in used.items()), default=0)
            return most < wait.ns // 10 and wait.was_for_gil
        if time.process_time_ns() - before.process_ns < wait.ns // 2:
            return moved
        # Some thread has computed. If all others are where they were, it was the task's thread.
        still = all(before.places.get(ident) == place_of(frames.get(ident)) for ident, _ in others if ident is not None)
        return moved and still


def _accuse(regulator: Regulator, name: str, seconds: float) -> None:
    """Tell a pool which function stalled the interpreter, and log the function if it is new."""
    if not regulator.stalls.add(name, seconds):
        return
    text = (
        "%s held the GIL for about %.0f ms and delayed every other Python thread. "
        "Run it in a LowPriorityProcessPoolExecutor instead."
    )
    # In a thread of `threading`: logging here would add this thread to its list, up to Python 3.12 permanently.
    log = threading.Thread(target=_LOGGER.info, args=(text, name, seconds * 1e3), name="nicefutures", daemon=True)
    with contextlib.suppress(RuntimeError):  # no more threads
        log.start()
