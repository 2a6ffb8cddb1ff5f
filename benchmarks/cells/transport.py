"""Large arrays through a pool: ``python -m benchmarks.cells.transport JSON`` measures one pool and answers in JSON.

The main thread beats, as a window does, while another thread sends arrays to the workers or receives theirs. Except
with "one", the receiver reads the whole array, so that the cost of mapped memory is included.
"""

import contextlib
import functools
import json
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from ..subjects.peers import PEERS, WORKERS, Opened
from ..watching.heartbeat import Schedule
from ..watching.machine import ask_control, control_machine

PERIOD_NS: Final = 5_000_000
# Bytes (6 arrays of 100 MB) that go through the pool before the next arrays are made.
_WAVE_BYTES: Final = 600_000_000
# Number of tasks that get one array, for pools that send it once. Pools that send it with each task get fewer tasks.
TASKS: Final = {"low-spawn": 1000, "joblib": 1000}
_FEW_TASKS: Final = 10
_LONGEST_S: Final = 3600.0
_WARM_UP_BYTES: Final = 2_000_000
_HOLDING_TASKS: Final = 4
_HOLD_S: Final = 1.0
_PATIENCE_S: Final = 60.0
_PAUSE_S: Final = 0.05

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TransportSpec:
    """Settings of one measurement."""

    kind: str  # "results" that workers return, "arguments" that they get, or "one" array that all tasks get
    peer: str  # a key of `benchmarks.subjects.peers.PEERS`
    size: int  # of an array, in bytes
    seconds: float  # minimum time for which arrays are sent; with "one" it depends on the number of tasks


def _make(size: int) -> Array:
    return np.full(size // 8, 1.0)


def _total(array: Array) -> float:
    return float(array.sum())


def _ends(array: Array) -> float:
    return float(array[0] + array[-1])


def _hold(array: Array, seconds: float) -> int:
    """Read a whole array and keep it for a time; return the worker's process id."""
    _total(array)
    time.sleep(seconds)
    return os.getpid()


def measure(spec: TransportSpec) -> dict[str, Any]:
    """Measure one pool.

    The result has "waves", each with "seconds", "bytes", "tasks" and the beats; "copies", the memory that one array for
    all tasks takes in addition to the caller's, in arrays (None: not measured, or unknown on this system); "machine",
    its stalls.
    """
    with control_machine() as control, PEERS[spec.peer].open() as opened:
        workers = _warm_up(opened)
        waves, copies = [], None
        if spec.kind == "one":
            array = _make(spec.size)
            tasks = TASKS.get(spec.peer, _FEW_TASKS)
            waves.append(_run_wave(opened, spec, [array] * tasks))
            copies = _count_copies(opened, workers, array)
        else:
            count = max(1, _WAVE_BYTES // spec.size)
            while sum(wave["seconds"] for wave in waves) < spec.seconds:
                items = [_make(spec.size) if spec.kind == "arguments" else spec.size for _ in range(count)]
                waves.append(_run_wave(opened, spec, items))
        return {"waves": waves, "copies": copies, "machine": ask_control(control)}


def _warm_up(opened: Opened) -> set[int]:
    """Send an array to each worker, and get some back; return the workers' process ids."""
    workers: set[int] = set()
    deadline = time.monotonic() + _PATIENCE_S
    while len(workers) < WORKERS:
        if time.monotonic() > deadline:
            msg = f"only {len(workers)} of {WORKERS} workers did a task within {_PATIENCE_S:.0f} s"
            raise TimeoutError(msg)
        hold = functools.partial(_hold, seconds=_PAUSE_S)
        workers.update(opened.stream(hold, [_make(_WARM_UP_BYTES)] * WORKERS))
        for _ in opened.stream(_make, [_WARM_UP_BYTES] * WORKERS):
            pass
    return workers


def _run_wave(opened: Opened, spec: TransportSpec, items: list[Any]) -> dict[str, Any]:
    """Send arrays through the pool, and beat meanwhile."""
    schedule = Schedule(_LONGEST_S, period_ns=PERIOD_NS)
    with ThreadPoolExecutor(1) as driver:
        under_way = driver.submit(_transfer, opened, spec, items)
        while True:
            time.sleep(schedule.wait_ns() / 1e9)
            schedule.show()
            if under_way.done():
                break
        seconds = under_way.result()
    schedule.stop()
    beats = schedule.result()
    kept = {name: beats[name] for name in ("first_due_ns", "lateness_ns", "cpu_share")}
    return {"seconds": round(seconds, 6), "bytes": len(items) * spec.size, "tasks": len(items), **kept}


def _transfer(opened: Opened, spec: TransportSpec, items: list[Any]) -> float:
    """Send arrays through the pool; return the duration in s."""
    expected = {"results": spec.size // 8, "arguments": spec.size // 8, "one": 2.0}[spec.kind]
    start = time.perf_counter()
    if spec.kind == "results":
        totals = [_total(array) for array in opened.stream(_make, items)]
    else:
        totals = list(opened.stream(_ends if spec.kind == "one" else _total, items))
    seconds = time.perf_counter() - start
    if totals != [expected] * len(items):
        msg = f"{spec.peer} delivered something else: {set(totals)} instead of {expected}"
        raise RuntimeError(msg)
    return seconds


def _count_copies(opened: Opened, workers: set[int], array: Array) -> float | None:
    """Return the additional memory of all processes while the workers have the array, in arrays."""
    before = _memory(workers)
    if before is None:
        return None
    seen = []
    hold = functools.partial(_hold, seconds=_HOLD_S)
    with ThreadPoolExecutor(1) as driver:
        holding = driver.submit(lambda: [*opened.stream(hold, [array] * _HOLDING_TASKS)])
        while not holding.done():
            seen.append((_memory(workers) or 0) - before)
            time.sleep(_PAUSE_S)
    return round(statistics.median(seen) / array.nbytes, 3)


def _memory(workers: set[int]) -> int | None:
    """Return the memory of this process and the workers in bytes, shared memory counted once; None if unknown."""
    told: list[Any] = [psutil.Process(pid).memory_full_info() for pid in (os.getpid(), *workers)]
    return sum(each.pss for each in told) if hasattr(told[0], "pss") else None


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        answer = measure(TransportSpec(**json.loads(sys.argv[1])))
    json.dump(answer, sys.stdout)
