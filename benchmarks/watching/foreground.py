"""The program in use, beside the background: ``python -m benchmarks.watching.foreground FRAMES_S BEATS_S [OTHERS]``.

It says "ready" on standard output, waits for a line on standard input, and then, at normal priority and in one thread:

1. for `FRAMES_S` seconds computes equal frames without a pause, as a simulation or a compiler does. Frames per
   second is the speed that is left to it;
2. for `BEATS_S` seconds beats 60 times a second on a fixed schedule and sleeps in between, as a window does.

`OTHERS` processes keep other CPUs busy meanwhile: the rest of its session.

The two are apart because a scheduler treats them apart: a thread that sleeps is favoured when it wakes, one that
computes has to share. The answer is one line of JSON, with times in ns of `time.perf_counter_ns`, which
all processes of a machine have in common.
"""

import json
import subprocess
import sys
import time
from typing import Final

from .heartbeat import Schedule, beat_in_a_loop
from .samples import thin

# About 0.4 ms on a desktop of 2020: well below a frame, well above what the clock costs.
_FRAME_STEPS: Final = 8_000
_WARM_UP_FRAMES: Final = 50
# Ends with its parent, that may be killed.
_BUSY: Final = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10000))"


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
        compute(_FRAME_STEPS)
        before, now = now, time.perf_counter_ns()
        times.append(now - before)
    return times


def main(frames_s: float, beats_s: float, others: int = 0) -> None:
    """Answer as the module says."""
    busy = [subprocess.Popen([sys.executable, "-S", "-c", _BUSY]) for _ in range(others)]
    try:
        _answer(frames_s, beats_s)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _answer(frames_s: float, beats_s: float) -> None:
    for _ in range(_WARM_UP_FRAMES):
        compute(_FRAME_STEPS)
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter_ns()
    frames = run_frames(frames_s) if frames_s else []
    schedule = Schedule(beats_s)
    beat_in_a_loop(schedule)
    end = time.perf_counter_ns()
    answer = {
        "start_ns": start,
        "end_ns": end,
        "frames_per_s": round(len(frames) / (sum(frames) / 1e9), 1) if frames else None,
        "frame_ns": thin(frames),
        **schedule.result(),
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:]))
