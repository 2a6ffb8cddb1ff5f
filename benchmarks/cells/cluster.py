"""A Dask cluster next to busy programs: ``python -m benchmarks.cells.cluster JSON`` measures it and answers in JSON."""

import asyncio
import contextlib
import importlib
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

WORKERS: Final = 2
THREADS: Final = 2
FOREIGN: Final = 4
# Time for which the busy programs are measured without tasks, as a fraction of the time with tasks.
_ALONE_SHARE: Final = 0.25
# Pending and running tasks per thread.
_DEPTH: Final = 4
_PERIOD_S: Final = 0.02
_SETTLE_S: Final = 2.0
_STEPS: Final = 100_000


def multiply() -> float:
    """Compute for about 50 ms with NumPy, which releases the GIL."""
    import numpy as np

    square = np.ones((700, 700))
    for _ in range(2):
        square = square @ square / 700
    return float(square[0, 0])


def count() -> int:
    """Compute for about 50 ms in Python code, which holds the GIL."""
    total = 0
    for number in range(700_000):
        total += number * number % 7
    return total


LOADS: Final = {"products": multiply, "python": count}


@dataclass(frozen=True)
class ClusterSpec:
    """Settings of one measurement."""

    load: str  # a key of `LOADS`
    level: str | None  # priority that the plugin sets; None without the plugin
    seconds: float  # how long tasks run
    foreign: int = FOREIGN  # number of busy programs


def _compute_for_ever(counter: Any) -> None:
    while True:
        for _ in range(_STEPS):
            pass
        counter.value += 1


@contextlib.contextmanager
def _busy_programs(count: int) -> Iterator[Callable[[], int]]:
    """Start programs at normal priority that compute without a pause; yield a function that returns their progress."""
    context = multiprocessing.get_context("spawn")
    counters = [context.Value("q", 0, lock=False) for _ in range(count)]
    processes = [context.Process(target=_compute_for_ever, args=(counter,), daemon=True) for counter in counters]
    try:
        for process in processes:
            process.start()
        yield lambda: sum(counter.value for counter in counters)
    finally:
        for process in processes:
            process.kill()
            process.join()


class _Watch(logging.Handler):
    """Records the delays of this thread's event loop, and counts Dask's warnings about them."""

    def __init__(self) -> None:
        super().__init__()
        self._late: list[float] = []
        self._complaints = 0
        logging.getLogger("distributed.core").addHandler(self)
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def emit(self, record: logging.LogRecord) -> None:
        """Count a warning about an unresponsive event loop."""
        self._complaints += "unresponsive" in record.getMessage()

    async def _watch(self) -> None:
        while True:
            due = time.perf_counter() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            self._late.append((time.perf_counter() - due) * 1e3)

    def end(self) -> tuple[list[float], int]:
        """Stop; return the delays in ms and the number of warnings."""
        self._task.cancel()
        logging.getLogger("distributed.core").removeHandler(self)
        return [round(each, 3) for each in self._late], self._complaints


async def _watch(dask_worker: Any = None, dask_scheduler: Any = None) -> None:
    (dask_worker or dask_scheduler).nicefutures_watch = _Watch()


async def _end_watch(dask_worker: Any = None, dask_scheduler: Any = None) -> tuple[list[float], int]:
    watch: _Watch = (dask_worker or dask_scheduler).nicefutures_watch
    return watch.end()


def measure(spec: ClusterSpec) -> dict[str, Any]:
    """Measure one cluster.

    The result has "alone_per_s" and "beside_per_s" (progress of the busy programs per s, without and with tasks),
    "seconds", "done" (tasks), "late_ms" (delays of the workers' event loops), "scheduler_late_ms" (delays of the event
    loop of scheduler and client), "unresponsive" (Dask's warnings about event loops of workers), "lost" (workers).
    """
    distributed: Any = importlib.import_module("distributed")
    cluster = distributed.LocalCluster(
        n_workers=WORKERS, threads_per_worker=THREADS, host="127.0.0.1", dashboard_address=None
    )
    with cluster, distributed.Client(cluster) as client:
        if spec.level is not None:
            plugins: Any = importlib.import_module("nicefutures.integrations.dask")
            client.register_plugin(plugins.LowPriorityWorkers(spec.level))
        client.gather(client.map(_call, [spec.load] * WORKERS * THREADS, pure=False))
        workers = set(client.scheduler_info()["workers"])
        with _busy_programs(spec.foreign) as done:
            time.sleep(_SETTLE_S)
            alone_s, before = spec.seconds * _ALONE_SHARE * bool(spec.foreign), done()
            time.sleep(alone_s)
            alone = (done() - before) / alone_s if alone_s else 0.0
            measured = _measure_beside(spec, client, done)
        lost = workers - set(client.scheduler_info()["workers"])
        return {"alone_per_s": alone, **measured, "lost": len(lost)}


def _measure_beside(spec: ClusterSpec, client: Any, foreign_done: Callable[[], int]) -> dict[str, Any]:
    distributed: Any = importlib.import_module("distributed")
    client.run(_watch)
    client.run_on_scheduler(_watch)
    before, begun, done = foreign_done(), time.perf_counter(), 0
    first = client.map(_call, [spec.load] * WORKERS * THREADS * _DEPTH, pure=False)
    tasks = distributed.as_completed(first, timeout=spec.seconds)
    with contextlib.suppress(TimeoutError):
        for task in tasks:
            task.result()
            done += 1
            tasks.add(client.submit(_call, spec.load, pure=False))
    seconds = time.perf_counter() - begun
    beside = (foreign_done() - before) / seconds
    scheduler_late, _ = client.run_on_scheduler(_end_watch)
    watched = client.run(_end_watch).values()
    client.cancel(list(tasks.futures))
    return {
        "beside_per_s": beside,
        "seconds": seconds,
        "done": done,
        "late_ms": [each for late, _ in watched for each in late],
        "scheduler_late_ms": scheduler_late,
        "unresponsive": sum(count for _, count in watched),
    }


def _call(load: str) -> float:
    return LOADS[load]()


if __name__ == "__main__":
    json.dump(measure(ClusterSpec(**json.loads(sys.argv[1]))), sys.stdout)
