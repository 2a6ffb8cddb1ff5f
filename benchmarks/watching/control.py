"""Stalls of the machine itself: ``python -m benchmarks.watching.control`` detects them.

A virtual machine gets no CPU for a while if its host is busy. Ordinary processes in the machine cannot distinguish this
from a stall that other processes in it cause. A process with real-time priority can: nothing in the machine delays it,
so if it is late, the machine itself stalled. It prints "ready", or "no" if it may not raise its priority, beats 20
times a second until its standard input ends, and prints the stalls as JSON.
"""

import json
import select
import sys
import time
from typing import Final

from ..system import raise_to_real_time

_PERIOD_NS: Final = 1_000_000_000 // 20
# ns: if a real-time process wakes later than that, nothing in this machine has caused the delay.
_LATE_NS: Final = 10_000_000
# Above the lowest priority of SCHED_RR, which TIME_CRITICAL threads have.
_PRIORITY: Final = 50


def watch() -> list[tuple[int, int]]:
    """Beat until standard input ends.

    Return when each late beat was due and when it came, in ns of `time.perf_counter_ns`.
    """
    stalls: list[tuple[int, int]] = []
    due = time.perf_counter_ns() + _PERIOD_NS
    while True:
        wait = max(0, due - time.perf_counter_ns())
        if select.select([sys.stdin], [], [], wait / 1e9)[0]:
            return stalls
        now = time.perf_counter_ns()
        if now - due > _LATE_NS:
            stalls.append((due, now))
        due += -(-(now - due + 1) // _PERIOD_NS) * _PERIOD_NS


def main() -> None:
    """Print the answers that the module's docstring describes."""
    if not raise_to_real_time(_PRIORITY):
        print("no", flush=True)
        return
    print("ready", flush=True)
    started = time.process_time(), time.perf_counter()
    stalls = watch()
    share = (time.process_time() - started[0]) / (time.perf_counter() - started[1])
    print(json.dumps({"stalls_ns": stalls, "cpu_share": round(share, 5)}), flush=True)


if __name__ == "__main__":
    main()
