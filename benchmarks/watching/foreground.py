"""The program in use: ``python -m benchmarks.watching.foreground FRAMES_S BEATS_S [OTHERS]``.

It prints "ready", waits for a line on standard input, and then, at normal priority and in one thread:

1. computes equal frames without a pause for `FRAMES_S` seconds, as a simulation or a compiler does. Its speed is the
   number of frames per second;
2. beats 60 times a second on a fixed schedule for `BEATS_S` seconds and sleeps in between, as a window does.

Meanwhile `OTHERS` processes, which are the rest of its session, keep other CPUs busy.

The two parts are separate because a scheduler treats them differently: it favours a thread that wakes from sleep, while
a thread that computes has to share the CPU. The answer is one line of JSON, with times in ns of
`time.perf_counter_ns`, a clock that all processes of a machine share.
"""

import json
import subprocess
import sys
import time
from typing import Final

from .heartbeat import Schedule, beat_in_a_loop, run_steps
from .samples import thin

# About 0.4 ms on a desktop of 2020: well below a frame, well above the cost of reading the clock.
_FRAME_STEPS: Final = 8_000
_WARM_UP_FRAMES: Final = 50
# Ends when its parent ends, which may be killed.
_BUSY: Final = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10000))"


def run_frames(seconds: float) -> list[int]:
    """Compute frames without a pause for some `seconds`; return the duration of each in ns."""
    times: list[int] = []
    now = time.perf_counter_ns()
    end = now + round(seconds * 1e9)
    while now < end:
        run_steps(_FRAME_STEPS)
        before, now = now, time.perf_counter_ns()
        times.append(now - before)
    return times


def main(frames_s: float, beats_s: float, others: int = 0) -> None:
    """Print the answers that the module's docstring describes."""
    busy = [subprocess.Popen([sys.executable, "-S", "-c", _BUSY]) for _ in range(others)]
    try:
        _answer(frames_s, beats_s)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def _answer(frames_s: float, beats_s: float) -> None:
    for _ in range(_WARM_UP_FRAMES):
        run_steps(_FRAME_STEPS)
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
