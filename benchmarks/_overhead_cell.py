"""Costs of the library beside the stdlib's: ``python -m benchmarks._overhead_cell JSON`` answers in JSON.

Both are measured in one process, by turns and in random order, so that what the machine does meanwhile happens to
both. No NumPy in here: it would only make the workers' start, which is measured, longer for both.
"""

import contextlib
import functools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Barrier
from typing import Any, Final

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

WORKERS: Final = 2
_PATIENCE: Final = 60.0
_IMPORT: Final = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"

_together: Barrier


@dataclass(frozen=True)
class OverheadSpec:
    """What to measure.

    Parameters
    ----------
    kind : {"call", "start", "import"}
        One call through `map`; the start of two workers; the import.
    context : str
        Start method, or "thread" for the thread pools. Nothing for "import".
    samples : int
        Samples of each of the two.
    calls : int
        Calls in a sample of "call".
    seed : int
        Of the order.
    """

    kind: str
    context: str = ""
    samples: int = 3
    calls: int = 4000
    seed: int = 0


def take_samples(
    spec: OverheadSpec, stdlib: Callable[[], float], nicefutures: Callable[[], float]
) -> dict[str, list[float]]:
    """Measure both by turns, in random order within each turn; each once before, for what is only done once."""
    measures = {"stdlib": stdlib, "nicefutures": nicefutures}
    samples: dict[str, list[float]] = {name: [] for name in measures}
    order = list(measures)
    shuffle = random.Random(spec.seed).shuffle
    for turn in range(spec.samples + 1):
        shuffle(order)
        for name in order:
            seconds = measures[name]()
            if turn > 0:
                samples[name].append(seconds)
    return samples


def _pool_types(context: str) -> tuple[Callable[..., Executor], Callable[..., Executor]]:
    if context == "thread":
        return ThreadPoolExecutor, PriorityThreadPoolExecutor
    start = multiprocessing.get_context(context)
    return (
        functools.partial(ProcessPoolExecutor, mp_context=start),
        functools.partial(LowPriorityProcessPoolExecutor, mp_context=start),
    )


def measure_call(spec: OverheadSpec) -> dict[str, list[float]]:
    """Return samples of the time, in s, of one call of an empty function through `map`."""
    with contextlib.ExitStack() as stack:
        executors = [stack.enter_context(make(WORKERS)) for make in _pool_types(spec.context)]
        stdlib, nicefutures = (functools.partial(_time_calls, executor, spec.calls) for executor in executors)
        return take_samples(spec, stdlib, nicefutures)


def _time_calls(executor: Executor, calls: int) -> float:
    start = time.perf_counter()
    for _ in executor.map(_nothing, range(calls)):
        pass
    return (time.perf_counter() - start) / calls


def _nothing(argument: int) -> None:
    pass


def measure_start(spec: OverheadSpec) -> dict[str, list[float]]:
    """Return samples of the time, in s, until each of two workers of a new executor has returned a result."""
    start = multiprocessing.get_context(spec.context)
    stdlib, nicefutures = (functools.partial(_time_start, make, start) for make in _pool_types(spec.context))
    return take_samples(spec, stdlib, nicefutures)


def _time_start(make: Callable[..., Executor], context: BaseContext) -> float:
    start = time.perf_counter()
    # A barrier, so that the first worker does not do the task of the second one.
    with make(WORKERS, initializer=_keep, initargs=(context.Barrier(WORKERS),)) as executor:
        futures = [executor.submit(_meet) for _ in range(WORKERS)]
        workers = {future.result(_PATIENCE) for future in futures}
        seconds = time.perf_counter() - start
    if len(workers) != WORKERS:
        msg = f"{len(workers)} of {WORKERS} workers returned a result"
        raise RuntimeError(msg)
    return seconds


def _keep(barrier: Barrier) -> None:
    global _together  # noqa: PLW0603, multiprocessing's locks reach a worker through its initializer only
    _together = barrier


def _meet() -> int:
    _together.wait(_PATIENCE)
    return os.getpid()


def measure_import(spec: OverheadSpec) -> dict[str, list[float]]:
    """Return samples of the time, in s, of an import in a fresh interpreter, its own start left out."""
    stdlib, nicefutures = (
        functools.partial(_time_import, module) for module in ("concurrent.futures.process", "nicefutures")
    )
    return take_samples(spec, stdlib, nicefutures)


def _time_import(module: str) -> float:
    command: Sequence[str] = [sys.executable, "-c", _IMPORT.format(module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


MEASURES: Final = {"call": measure_call, "start": measure_start, "import": measure_import}


def main(argument: str) -> dict[str, Any]:
    """Measure what the JSON asks for."""
    spec = OverheadSpec(**json.loads(argument))
    return {"samples_s": MEASURES[spec.kind](spec)}


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout)
