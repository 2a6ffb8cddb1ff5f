"""The program in use, beside which the background work runs: ``python -m benchmarks._foreground FRAMES_S BEATS_S``.

It says "ready" on standard output, waits for a line on standard input, and then, at normal priority and in one thread:

1. for `FRAMES_S` seconds computes equal frames without a pause, as a simulation or a compiler does. Frames per
   second is the speed that is left to it;
2. for `BEATS_S` seconds draws 60 times a second on a fixed schedule and sleeps in between, as a window does.
   A frame time is how late it woke plus how long it drew, see :func:`benchmarks._statistics.charge`.

The two are apart because a scheduler treats them apart: a thread that sleeps is favoured when it wakes, one that
computes has to share. The answer is one line of JSON, with times in ns of `time.perf_counter_ns`, which
all processes of a machine have in common.
"""

import json
import sys
import time
from typing import Final

from ._statistics import charge

PERIOD_NS: Final = 1_000_000_000 // 60
# About 0.4 ms and 1 ms on a desktop of 2020: well below a frame, well above what the clock costs.
FRAME_STEPS: Final = 8_000
DRAW_STEPS: Final = 20_000
_WARM_UP_FRAMES: Final = 50


def compute(steps: int) -> int:
    """Work that takes the same time each time: Python code, without memory to speak of."""
    total = 0
    for number in range(steps):
        total += number * number % 7
    return total


def run_frames(seconds: float) -> list[int]:
    """Compute frames without a pause.

    Parameters
    ----------
    seconds : float
        How long.

    Returns
    -------
    list of int
        What each frame took, in ns.
    """
    times: list[int] = []
    now = time.perf_counter_ns()
    end = now + round(seconds * 1e9)
    while now < end:
        compute(FRAME_STEPS)
        before, now = now, time.perf_counter_ns()
        times.append(now - before)
    return times


def run_beats(seconds: float) -> list[int]:
    """Draw 60 times a second.

    Parameters
    ----------
    seconds : float
        How long; one beat at least.

    Returns
    -------
    list of int
        Time from due to drawn, in ns, of every beat, those included that passed during a stall.
    """
    beats = max(1, round(seconds * 1e9 / PERIOD_NS))
    start = time.perf_counter_ns() + PERIOD_NS
    frames: list[tuple[int, int]] = []
    due = 0
    while due < beats:
        early = start + due * PERIOD_NS - time.perf_counter_ns()
        if early > 0:
            time.sleep(early / 1e9)
        begun = time.perf_counter_ns()
        compute(DRAW_STEPS)
        frames.append((begun, time.perf_counter_ns()))
        due = (begun - start) // PERIOD_NS + 1
    return charge(frames, start, PERIOD_NS, beats)


def main(frames_s: float, beats_s: float) -> None:
    """Answer as the module says."""
    for _ in range(_WARM_UP_FRAMES):
        compute(FRAME_STEPS)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter_ns()
    frames = run_frames(frames_s) if frames_s else []
    beats = run_beats(beats_s) if beats_s else []
    end = time.perf_counter_ns()
    print(json.dumps({"start_ns": start, "end_ns": end, "frames_ns": frames, "beats_ns": beats}), flush=True)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
