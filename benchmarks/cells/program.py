"""The program that a pool pauses for: ``python -m benchmarks.cells.program NAME IDLE_AFTER``.

It prints "ready", reads a line "SKIP SECONDS" from standard input, works that long without a pause, prints a line of
JSON, and is ready again. `NAME` is a load, which it runs in its main thread at normal priority, or `POOL`: then it uses
a pool like the measured one, and opens a new pool each time.
"""

import contextlib
import functools
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from multiprocessing import get_context
from typing import Final

import numpy as np

from nicefutures import LowPriorityProcessPoolExecutor

from ..subjects.background import Background, start_work
from ..subjects.loads import LOADS
from ..system import usable_cpus

POOL: Final = "pool"
CONDITION: Final = "cpu_busy"
# The load of the pools.
LOAD: Final = "stream"
WORKERS: Final = usable_cpus()
# The speed is measured for each such time, in s.
_SLOT_S: Final = 0.5
_WARM_UP_S: Final = 1.0
# Seconds to wait for a pool that is paused because other programs use the machine.
PATIENCE_S: Final = 10.0


class Pauses(logging.Handler):
    """Records when a pool paused by itself, and when it resumed."""

    def __init__(self, executor: LowPriorityProcessPoolExecutor) -> None:
        super().__init__(logging.INFO)
        self._executor = executor
        self._changes: list[tuple[int, bool]] = []

    def emit(self, _record: logging.LogRecord) -> None:
        """Record the state of the pool, because a log message probably reports a change."""
        self._changes.append((time.perf_counter_ns(), bool(self._executor.paused_by)))

    def since(self, when: int, *, paused: bool = True) -> list[int]:
        """Return the times from `when` on at which the pool paused (or resumed), in ns."""
        return [at for at, is_paused in self._changes if at >= when and is_paused == paused]


@contextlib.contextmanager
def open_pool(conditions: Sequence[str], idle_after: float) -> Iterator[tuple[LowPriorityProcessPoolExecutor, Pauses]]:
    """Open a pool; shut it down on exit."""
    logger = logging.getLogger("nicefutures")
    logger.setLevel(logging.INFO)
    with LowPriorityProcessPoolExecutor(
        WORKERS, get_context("spawn"), on_denied="ignore", pause_when=conditions, idle_after=idle_after
    ) as executor:
        pauses = Pauses(executor)
        logger.addHandler(pauses)
        try:
            yield executor, pauses
        finally:
            logger.removeHandler(pauses)
            _let_go_on(executor)


def _let_go_on(executor: LowPriorityProcessPoolExecutor) -> None:
    """Let a pool finish despite its conditions, because other programs may use the machine forever."""
    if executor._pool is not None:  # noqa: SLF001
        executor._pool.pausing.end()  # noqa: SLF001


def stop_work(work: Background, executor: LowPriorityProcessPoolExecutor) -> list[int]:
    """Stop the work of a pool, which may be paused; return the time at which each piece was done."""
    _let_go_on(executor)
    return work.stop()


def _work_alone(task: Callable[[], object], seconds: float) -> list[int]:
    done = [time.perf_counter_ns()]
    while done[-1] < done[0] + seconds * 1e9:
        task()
        done.append(time.perf_counter_ns())
    return done


def _work_in_pool(executor: LowPriorityProcessPoolExecutor, seconds: float) -> list[int]:
    begun = time.perf_counter_ns()
    work = start_work(LOAD, executor, WORKERS, 0)
    time.sleep(seconds)
    return sorted([begun, *stop_work(work, executor)])


def _speeds(done: Sequence[int], skip: float, seconds: float) -> list[float]:
    """Return the pieces per s for each half second after the skipped time."""
    at = (np.asarray(done) - done[0]) / 1e9
    edges = np.linspace(skip, skip + seconds, max(1, round(seconds / _SLOT_S)) + 1)
    last = np.unique(np.searchsorted(at, edges, side="right") - 1)
    return [round(float(each), 3) for each in np.diff(last) / np.diff(at[last])]


def main(name: str, idle_after: float) -> None:
    """Answer requests as the module's docstring says."""
    if name != POOL:
        LOADS[name].task()
        while _answer(lambda seconds: _work_alone(LOADS[name].task, seconds)):
            pass
        return
    is_asked = True
    while is_asked:
        with open_pool([CONDITION], idle_after) as (executor, pauses):
            wait([executor.submit(time.sleep, _WARM_UP_S) for _ in range(WORKERS)], PATIENCE_S)
            is_asked = _answer(functools.partial(_work_in_pool, executor), pauses)


def _answer(work: Callable[[float], list[int]], pauses: Pauses | None = None) -> bool:
    """Answer one request; return False if there are no more."""
    print("ready", flush=True)
    line = sys.stdin.readline()
    if line:
        skip, seconds = map(float, line.split())
        done = work(skip + seconds)
        counted = len(pauses.since(done[0])) if pauses is not None else 0
        speeds = _speeds(done, skip, seconds)
        end = done[0] + round((skip + seconds) * 1e9)  # the pool may have done nothing
        answer = {"begun_ns": done[0], "end_ns": end, "per_s": speeds, "pauses": counted}
        print(json.dumps(answer), flush=True)
    return bool(line)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
