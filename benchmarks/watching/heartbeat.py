"""A heartbeat: beats on a fixed schedule, 60 a second, and how late each of them was shown.

The method is jHiccup's: a stall is charged to every beat that fell into it. The code is light plain Python, because it
runs in the measured processes.
"""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..system import WINDOWS

PERIOD_NS: Final = 1_000_000_000 // 60
# To measure the speed of a Python loop: number of steps, and number of tries.
_STEPS: Final = 20_000
_TRIES: Final = 9
# Steps between two looks at the CPU time: about 0.02 ms.
_STEPS_AT_ONCE: Final = 200


def charge(frames: Sequence[tuple[int, int]], start: int, period: int, beats: int) -> list[int]:
    """Return how long after its due time each beat of a fixed schedule was on the screen.

    A beat that became due while a frame was being drawn, or during a stall, is shown by the next frame, and is charged
    with the whole time until then. So a stall of k beats gives k long times, not one: leaving them out ("coordinated
    omission") would hide the stalls.

    `frames` are the times at which the drawing of each frame began and ended. The first beat was due at `start`, and
    one more after each `period`. All times are in ns. Beats at the end that no frame showed are missing in the result.

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
    """The beats of one measurement. Any loop with a timer can show them: it calls `show` after `wait_ns`.

    It lasts for some `seconds`, at least one beat. The first beat is due one period from now. A beat counts as shown
    when `paint` begins.
    """

    def __init__(
        self,
        seconds: float,
        draw: Callable[[], object] | None = None,  # called to show a beat
        look: Callable[[], int] | None = None,  # called after each beat that was shown, for the result
        period_ns: int = PERIOD_NS,
        paint: Callable[[], object] | None = None,  # called after `draw`: the Python code of a program for a frame
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
        """End the schedule after the beats that are due so far."""
        self._beats = self._due

    def wait_ns(self) -> int:
        """Return the time until the next beat is due, in ns; 0 if it is due."""
        return max(0, self._start + self._due * self._period - time.perf_counter_ns())

    def wait_ms(self) -> int:
        """Return the same in ms, rounded up, for timers that only take whole milliseconds."""
        return -(-self.wait_ns() // 1_000_000)

    def show(self) -> None:
        """Show all beats that are due."""
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
        """Return the recorded beats.

        "lateness_ns" of each beat; "first_due_ns", when the first one was due, in `time.perf_counter_ns`; "cpu_share",
        fraction of a core that this thread used, with drawing; "seen", times and results of `look`.
        """
        elapsed = time.perf_counter_ns() - self._start
        return {
            "first_due_ns": self._start,
            "lateness_ns": charge(self._frames, self._start, self._period, self._beats),
            "cpu_share": round((time.thread_time_ns() - self._cpu_start) / elapsed, 5),
            "seen": self._seen,
        }


def paint_for(ms: float) -> Callable[[], object] | None:
    """Return a function that runs Python code for a CPU time in ms; None for 0.

    It uses CPU time because a shared machine may become slower by half from one second to the next, and a window that
    draws for longer than a frame is late by itself. Windows counts the CPU time of a thread in ticks of 15.6 ms. So on
    Windows the function does as many steps as an idle machine does in that time.
    """
    if not ms:
        return None
    if WINDOWS:
        quickest = min(_time_of(_STEPS) for _ in range(_TRIES))
        return functools.partial(run_steps, round(_STEPS * ms / 1e3 / quickest))
    return functools.partial(_run_for, round(ms * 1e6))


def _time_of(steps: int) -> float:
    began = time.perf_counter()
    run_steps(steps)
    return time.perf_counter() - began


def _run_for(cpu_ns: int) -> None:
    until = time.thread_time_ns() + cpu_ns
    while time.thread_time_ns() < until:
        run_steps(_STEPS_AT_ONCE)


def run_steps(steps: int) -> None:
    """Run Python code that takes the same time each time, and hardly any memory."""
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
