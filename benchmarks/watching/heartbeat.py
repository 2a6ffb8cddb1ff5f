"""A heartbeat: beats on a fixed schedule, 60 a second, and how late each of them was shown.

The method is jHiccup's: a stall is charged to every beat that it swallowed. Plain Python and light, as it runs in the
processes that are measured.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..system import WINDOWS

PERIOD_NS: Final = 1_000_000_000 // 60
# Of a loop in Python whose speed is measured: so many steps, and how often.
_STEPS: Final = 20_000
_TRIES: Final = 9
# From one look at the CPU time to the next: about 0.02 ms.
_STEPS_AT_ONCE: Final = 200


def charge(frames: Sequence[tuple[int, int]], start: int, period: int, beats: int) -> list[int]:
    """Return how long after its due time each beat of a fixed schedule was on the screen.

    A beat that fell due while a frame was being drawn, or while nothing ran at all, is shown by the next frame, and is
    charged with the whole time until then. So a stall that swallows k beats gives k long times, not one: leaving
    them out ("coordinated omission") would hide the stalls.

    Parameters
    ----------
    frames : sequence of (int, int)
        When the drawing of each frame began and ended, in ns.
    start : int
        When the first beat was due, in ns.
    period : int
        Time from beat to beat, in ns.
    beats : int
        How many beats the schedule has.

    Returns
    -------
    list of int
        Time from due to drawn, in ns, beat by beat. Beats that no frame showed are missing at the end.

    Examples
    --------
    >>> charge([(0, 1), (10, 11), (45, 46)], start=0, period=10, beats=5)
    [1, 1, 26, 16, 6]
    """
    times: list[int] = []
    for begun, drawn in frames:
        while len(times) < beats and start + len(times) * period <= begun:
            times.append(drawn - (start + len(times) * period))
    return times


class Schedule:
    """The beats of one window, for whatever shows them: a loop with a timer calls `show` when `wait_ns` has passed.

    Parameters
    ----------
    seconds : float
        How long; one beat at least. The first is due one period from now.
    draw : callable, optional
        Called to show a beat.
    look : callable, optional
        Called after each beat that was shown; what it returns is in the result.
    period_ns : int
        From beat to beat, in ns.
    paint : callable, optional
        Called after `draw`: what a program does for a frame in Python. A beat counts as shown when that begins.
    """

    def __init__(
        self,
        seconds: float,
        draw: Callable[[], object] | None = None,
        look: Callable[[], int] | None = None,
        period_ns: int = PERIOD_NS,
        paint: Callable[[], object] | None = None,
    ) -> None:
        self._period = period_ns
        self._beats = max(1, round(seconds * 1e9 / period_ns))
        self._draw = draw
        self._look = look
        self._paint = paint
        self._frames: list[tuple[int, int]] = []
        self._seen: list[tuple[int, int]] = []
        self._due = 0
        self._cpu_start = time.thread_time_ns()
        self._start = time.perf_counter_ns() + period_ns

    @property
    def is_over(self) -> bool:
        """Whether the last beat was shown."""
        return self._due >= self._beats

    def stop(self) -> None:
        """Let this have been all beats: what has fallen due so far."""
        self._beats = self._due

    def wait_ns(self) -> int:
        """Return how long it is until the next beat is due, in ns; 0 if it is."""
        return max(0, self._start + self._due * self._period - time.perf_counter_ns())

    def wait_ms(self) -> int:
        """Return the same in ms, rounded up: for timers that know whole milliseconds only."""
        return -(-self.wait_ns() // 1_000_000)

    def show(self) -> None:
        """Show whatever is due."""
        begun = time.perf_counter_ns()
        if self._draw is not None:
            self._draw()
        self._frames.append((begun, time.perf_counter_ns()))
        if self._paint is not None:
            self._paint()
        if self._look is not None:
            self._seen.append((begun, self._look()))
        self._due = (begun - self._start) // self._period + 1

    def result(self) -> dict[str, Any]:
        """Return what was seen.

        Returns
        -------
        dict
            "lateness_ns", beat by beat; "first_due_ns", when the first was due, of `time.perf_counter_ns`; "cpu_share",
            the part of one core that this thread used, drawing included; "seen", what `look` returned and when.
        """
        elapsed = time.perf_counter_ns() - self._start
        return {
            "first_due_ns": self._start,
            "lateness_ns": charge(self._frames, self._start, self._period, self._beats),
            "cpu_share": round((time.thread_time_ns() - self._cpu_start) / elapsed, 5),
            "seen": self._seen,
        }


def paint_for(ms: float) -> Callable[[], object] | None:
    """Return Python code that needs so many ms of the CPU; None for 0.

    By CPU time, because a machine that others use as well may become slower by half from one second to the next, and a
    window that draws for longer than a frame is late by itself. Windows counts the CPU time of a thread in ticks of
    15.6 ms; there the code does so many steps as it can do in that time while the machine is idle.
    """
    if not ms:
        return None
    if WINDOWS:
        quickest = min(_time_of(_STEPS) for _ in range(_TRIES))
        return functools.partial(_run_steps, round(_STEPS * ms / 1e3 / quickest))
    return functools.partial(_run_for, round(ms * 1e6))


def _time_of(steps: int) -> float:
    began = time.perf_counter()
    _run_steps(steps)
    return time.perf_counter() - began


def _run_for(cpu_ns: int) -> None:
    until = time.thread_time_ns() + cpu_ns
    while time.thread_time_ns() < until:
        _run_steps(_STEPS_AT_ONCE)


def _run_steps(steps: int) -> None:
    total = 0
    for number in range(steps):
        total += number * number % 7


def beat_in_a_loop(schedule: Schedule) -> None:
    """Run the schedule in the calling thread, which sleeps in between."""
    while not schedule.is_over:
        wait = schedule.wait_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        schedule.show()
