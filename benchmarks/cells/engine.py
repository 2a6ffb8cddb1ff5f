"""Our process pool and the stdlib's: ``python -m benchmarks.cells.engine JSON`` measures both, answers in JSON.

A pool is opened, measured and closed, then the other one, then both again in the opposite order, so that drift affects
both. Workers of the standard library's pool import this module as their main module. So it imports neither NumPy nor
this library, which would only delay the start of these workers.
"""

import contextlib
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..watching.heartbeat import Schedule, beat_in_a_loop, paint_for
from ..watching.machine import ask_control, control_machine

WORKERS: Final = 2
PERIOD_NS: Final = {"heartbeat": 5_000_000, "window": 16_666_667}
ARRAY_BYTES: Final = 10**8
ITEMS_AT_ONCE: Final = 500
DICTS: Final = 200_000
_DRAWING_MS: Final = 2.0
_SLOW_S: Final = 0.3
SLOW_IN: Final = 400
_SMALL: Final = 6
_WARM_UP: Final = 100
_PATIENCE_S: Final = 60.0


@dataclass(frozen=True)
class EngineSpec:
    """Settings of one measurement."""

    kind: str  # a key of `benchmarks.suites.engine.KINDS`
    method: str  # the start method
    loops: int  # number of calls, items or arrays in one value
    pairs: int  # number of values of each pool
    seconds: float  # duration of a measurement of beats


@dataclass(frozen=True)
class _Point:
    x: float
    y: float


def measure(spec: EngineSpec) -> dict[str, Any]:
    """Measure both pools.

    The result has "ours" and "stdlib", the values of each pool in the same order (s or bytes per loop, or the beats),
    and "machine", its stalls.
    """
    found: dict[str, list[Any]] = {"ours": [], "stdlib": []}
    with control_machine() as control:
        if spec.kind == "start":  # to start processes that outlive a pool, such as the fork server
            for pool in found:
                _start(spec, pool)
        for number in range(spec.pairs):
            for pool in sorted(found, reverse=number % 2 == 1):
                found[pool].append(_start(spec, pool) if spec.kind == "start" else _measure_one(spec, pool))
        return {**found, "machine": ask_control(control)}


def _make_pool(spec: EngineSpec, pool: str) -> Executor:
    module, name = {
        "ours": ("nicefutures", "LowPriorityProcessPoolExecutor"),
        "stdlib": ("concurrent.futures", ProcessPoolExecutor.__name__),
    }[pool]
    make: Callable[..., Executor] = getattr(importlib.import_module(module), name)
    return make(WORKERS, mp_context=multiprocessing.get_context(spec.method))


def _start(spec: EngineSpec, pool: str) -> float:
    """Return the time, in s, until each worker of a new pool has returned a result."""
    began = time.perf_counter()
    with _make_pool(spec, pool) as executor:
        _gather(executor, None)
        return time.perf_counter() - began


def _gather(executor: Executor, argument: object) -> None:
    """Wait until each worker has received an argument."""
    with tempfile.TemporaryDirectory() as folder:
        there = {*executor.map(_meet, [folder] * WORKERS, [argument] * WORKERS, chunksize=1)}
    if len(there) != WORKERS:
        msg = f"{len(there)} of {WORKERS} workers returned a result"
        raise RuntimeError(msg)


def _meet(folder: str, _argument: object) -> int:
    Path(folder, str(os.getpid())).touch()
    deadline = time.monotonic() + _PATIENCE_S
    while len(os.listdir(folder)) < WORKERS and time.monotonic() < deadline:
        time.sleep(0.0005)
    return os.getpid()


def _measure_one(spec: EngineSpec, pool: str) -> Any:
    argument: Any = 1.0
    if spec.kind.endswith("array") or spec.kind == "search":
        argument = _make_array(_SMALL * 8)
    elif spec.kind.endswith("class"):
        argument = _Point(1.0, 2.0)
    with _make_pool(spec, pool) as executor:
        _gather(executor, argument)
        for _ in executor.map(_give_back, [argument] * _WARM_UP, chunksize=1):
            pass
        if spec.kind in PERIOD_NS:
            return _watch(spec, executor)
        began = time.perf_counter()
        own = _MEASURES[spec.kind](executor, spec.loops, argument)
        return (time.perf_counter() - began if own is None else own) / spec.loops


def _watch(spec: EngineSpec, executor: Executor) -> dict[str, Any]:
    """Return the beats of this thread while another thread receives results."""
    over = threading.Event()
    paint = paint_for(_DRAWING_MS) if spec.kind == "window" else None
    with ThreadPoolExecutor(1) as driver:
        feeding = driver.submit(_feed, spec, executor, over)
        schedule = Schedule(spec.seconds, period_ns=PERIOD_NS[spec.kind], paint=paint)
        beat_in_a_loop(schedule)
        beats = schedule.result()
        over.set()
        feeding.result()
    return {name: beats[name] for name in ("first_due_ns", "lateness_ns", "cpu_share")}


def _feed(spec: EngineSpec, executor: Executor, over: threading.Event) -> None:
    while not over.is_set():
        if spec.kind == "window":
            for _ in executor.map(_make_dicts, [DICTS] * WORKERS, chunksize=1):
                pass
        else:
            _map_singly(executor, ITEMS_AT_ONCE, 1.0)


def _call(executor: Executor, loops: int, argument: object) -> None:
    for _ in range(loops):
        executor.submit(_give_back, argument).result()


def _map_singly(executor: Executor, loops: int, argument: object) -> None:
    for _ in executor.map(_give_back, [argument] * loops, chunksize=1):
        pass


def _map(executor: Executor, loops: int, argument: object) -> None:
    for _ in executor.map(_give_back, [argument] * loops):
        pass


def _map_unevenly(executor: Executor, loops: int, _argument: object) -> None:
    for _ in executor.map(_sleep_seldom, range(loops * SLOW_IN)):
        pass


def _return_arrays(executor: Executor, loops: int, _argument: object) -> None:
    _check([_sum(array) for array in executor.map(_make_array, [ARRAY_BYTES] * loops, chunksize=1)])


def _send_arrays(executor: Executor, loops: int, _argument: object) -> None:
    _check([*executor.map(_sum, [_make_array(ARRAY_BYTES)] * loops, chunksize=1)])


def _check(sums: list[float]) -> None:
    if {*sums} != {ARRAY_BYTES / 8}:
        msg = f"the arrays arrived with the sums {sums}, not {ARRAY_BYTES / 8}"
        raise RuntimeError(msg)


def _search(executor: Executor, loops: int, _argument: object) -> None:
    optimize: Any = importlib.import_module("scipy.optimize")
    generations = loops // (15 * 5) - 1
    found = optimize.differential_evolution(
        optimize.rosen,
        [(0, 2)] * 5,
        workers=executor.map,
        updating="deferred",
        seed=1,
        maxiter=generations,
        tol=0,
        polish=False,
    )
    if found.nfev != loops:
        msg = f"the search made {found.nfev} calls, not {loops}"
        raise RuntimeError(msg)


def _keep_waiting(executor: Executor, loops: int, _argument: object) -> float:
    """Return the memory of pending tasks in bytes."""
    with _all_at_work(executor):
        tracemalloc.start()
        for _ in range(loops):
            executor.submit(_give_back, 1.0)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    executor.shutdown(cancel_futures=True)
    return used


def _cancel(executor: Executor, loops: int, _argument: object) -> float:
    """Return the time to cancel pending tasks, in s."""
    with _all_at_work(executor):
        for _ in range(loops):
            executor.submit(_give_back, 1.0)
    began = time.perf_counter()
    executor.shutdown(cancel_futures=True)
    return time.perf_counter() - began


@contextlib.contextmanager
def _all_at_work(executor: Executor) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(WORKERS):
            executor.submit(_wait_for_end_of, folder)
        yield


def _wait_for_end_of(folder: str) -> None:
    while Path(folder).exists():
        time.sleep(0.0005)


_MEASURES: Final[dict[str, Callable[[Executor, int, Any], float | None]]] = {
    "call": _call,
    "call, array": _call,
    "call, class": _call,
    "item": _map_singly,
    "item, array": _map_singly,
    "item, class": _map_singly,
    "waiting": _keep_waiting,
    "cancelled": _cancel,
    "returned": _return_arrays,
    "sent": _send_arrays,
    "map": _map,
    "search": _search,
    "uneven": _map_unevenly,
}


def _give_back(argument: object) -> object:
    return argument


def _make_array(size: int) -> Any:
    import numpy as np

    return np.full(size // 8, 1.0)


def _sum(array: Any) -> float:
    return float(array.sum())


def _make_dicts(count: int) -> list[dict[str, int]]:
    return [{"number": number} for number in range(count)]


def _sleep_seldom(number: int) -> None:
    if number % SLOW_IN == 0:
        time.sleep(_SLOW_S)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        answer = measure(EngineSpec(**json.loads(sys.argv[1])))
    json.dump(answer, sys.stdout)
