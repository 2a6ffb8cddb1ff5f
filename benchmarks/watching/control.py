"""Tells when the machine itself stood still: ``python -m benchmarks.watching.control``.

A virtual machine gets no CPU for a while when its host has other things to do, and no process in it can tell that from
a stall of its own making. A process with real-time priority can: nothing in the machine keeps it waiting, so when it is
late, the machine was. It says "ready" or, if it may not raise itself, "no" on standard output, beats 20 times a second
until its standard input ends, and answers with its stalls in JSON.
"""

import json
import select
import sys
import time
from typing import Final

from ..system import raise_to_real_time

_PERIOD_NS: Final = 1_000_000_000 // 20
# ms: a real-time process that wakes later than that was not kept waiting by anything in this machine.
_LATE_NS: Final = 10_000_000
# Above SCHED_RR at its lowest, where TIME_CRITICAL threads are.
_PRIORITY: Final = 50


def watch() -> list[tuple[int, int]]:
    """Beat until standard input ends.

    Returns
    -------
    list of (int, int)
        When each late beat was due and when it came, in ns of `time.perf_counter_ns`.
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
    """Answer as the module says."""
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
