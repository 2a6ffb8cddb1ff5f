"""A Dask cluster beside busy programs: ``python -m benchmarks.cells.cluster JSON`` measures one and answers in JSON."""

import asyncio
import contextlib
import importlib
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from typing import Any, Final

WORKERS: Final = 2
THREADS: Final = 2
FOREIGN: Final = 4
# Part of the tasks' time for which the busy programs are watched without them.
_ALONE_SHARE: Final = 0.25
# Tasks for each thread that wait or run.
_DEPTH: Final = 4
_PERIOD_S: Final = 0.02
_SETTLE_S: Final = 2.0
_STEPS: Final = 100_000


def multiply() -> float:
    """About 50 ms of NumPy, alone on a CPU; it lets the GIL go."""
    import numpy as np

    square = np.ones((700, 700))
    for _ in range(2):
        square = square @ square / 700
    return float(square[0, 0])


def count() -> int:
    """About 50 ms of Python code, alone on a CPU; it keeps the GIL."""
    total = 0
    for number in range(700_000):
        total += number * number % 7
    return total


LOADS: Final = {"products": multiply, "python": count}


@dataclass(frozen=True)
class ClusterSpec:
    """What to measure.

    Parameters
    ----------
    load : str
        A key of :data:`LOADS`.
    level : str or None
        Of the plugin; None without it.
    seconds : float
        How long tasks run.
    """

    load: str
    level: str | None
    seconds: float


class BusyPrograms:
    """Programs at normal priority that compute without a pause, and count what they have done."""

    def __init__(self, counters: Sequence[Any], processes: Sequence[SpawnProcess]) -> None:
        self._counters = counters
        self._processes = processes
        self._begun = 0.0
        self._before = 0

    def _total(self) -> int:
        return sum(counter.value for counter in self._counters)

    def begin(self) -> None:
        """Begin to count."""
        self._begun, self._before = time.perf_counter(), self._total()

    def rate(self) -> float:
        """Return how much they have done since, per second."""
        return (self._total() - self._before) / (time.perf_counter() - self._begun)

    def end(self) -> None:
        """End them."""
        for process in self._processes:
            process.kill()
            process.join()


def _compute_for_ever(counter: Any) -> None:
    while True:
        for _ in range(_STEPS):
            pass
        counter.value += 1


@contextlib.contextmanager
def _busy_programs() -> Iterator[BusyPrograms]:
    context = multiprocessing.get_context("spawn")
    counters = [context.Value("q", 0, lock=False) for _ in range(FOREIGN)]
    processes = [context.Process(target=_compute_for_ever, args=(counter,), daemon=True) for counter in counters]
    programs = BusyPrograms(counters, processes)
    try:
        for process in processes:
            process.start()
        yield programs
    finally:
        programs.end()


class _Complaints(logging.Handler):
    """Takes note of what Dask says of its event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count it."""
        self.count += "unresponsive" in record.getMessage()


async def _watch_loop(dask_worker: Any) -> None:
    """Take note, in a worker's event loop, of how late it is."""
    late: list[float] = []
    complaints = _Complaints()
    logging.getLogger("distributed.core").addHandler(complaints)

    async def watch() -> None:
        while True:
            due = time.perf_counter() + _PERIOD_S
            await asyncio.sleep(_PERIOD_S)
            late.append((time.perf_counter() - due) * 1e3)

    dask_worker.nicefutures_watch = late, complaints, asyncio.get_running_loop().create_task(watch())


async def _stop_watch(dask_worker: Any) -> tuple[list[float], int]:
    late, complaints, task = dask_worker.nicefutures_watch
    task.cancel()
    return [round(each, 3) for each in late], complaints.count


def measure(spec: ClusterSpec) -> dict[str, Any]:
    """Measure one cluster.

    Returns
    -------
    dict
        "alone_per_s" and "beside_per_s" (what the busy programs did, per s, without and beside tasks), "seconds",
        "done" (tasks), "late_ms" (of the workers' event loops), "unresponsive" (how often Dask says so), "lost"
        (workers).
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
        with _busy_programs() as programs:
            time.sleep(_SETTLE_S)
            programs.begin()
            time.sleep(spec.seconds * _ALONE_SHARE)
            alone = programs.rate()
            measured = _measure_beside(spec, client, programs)
        lost = workers - set(client.scheduler_info()["workers"])
        return {"alone_per_s": alone, **measured, "lost": len(lost)}


def _measure_beside(spec: ClusterSpec, client: Any, programs: BusyPrograms) -> dict[str, Any]:
    distributed: Any = importlib.import_module("distributed")
    client.run(_watch_loop)
    programs.begin()
    begun, done = time.perf_counter(), 0
    first = client.map(_call, [spec.load] * WORKERS * THREADS * _DEPTH, pure=False)
    tasks = distributed.as_completed(first, timeout=spec.seconds)
    with contextlib.suppress(TimeoutError):
        for task in tasks:
            task.result()
            done += 1
            tasks.add(client.submit(_call, spec.load, pure=False))
    seconds, beside = time.perf_counter() - begun, programs.rate()
    watched = client.run(_stop_watch).values()
    client.cancel(list(tasks.futures))
    return {
        "beside_per_s": beside,
        "seconds": seconds,
        "done": done,
        "late_ms": [each for late, _ in watched for each in late],
        "unresponsive": sum(count for _, count in watched),
    }


def _call(load: str) -> float:
    return LOADS[load]()


if __name__ == "__main__":
    json.dump(measure(ClusterSpec(**json.loads(sys.argv[1]))), sys.stdout)
