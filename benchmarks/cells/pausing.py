"""A program next to a pool, with and without pauses: ``python -m benchmarks.cells.pausing JSON`` answers in JSON.

The program computes three times: next to a pool that does not pause, alone, and next to a pool that pauses. The pool
starts to work before the program. If the pool pauses, the cell waits until it resumes.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..subjects.background import start_work
from ..system import cpu_ns_of_thread
from ..watching.machine import pipe_of
from .program import CONDITION, LOAD, PATIENCE_S, WORKERS, open_pool, stop_work

# Fraction of `skip_s` that is skipped where no pool has to pause.
_SHORT_SKIP: Final = 1 / 3
# The pool's work is counted for so many seconds before the program begins.
_BEFORE_S: Final = 1.5
_PAUSE_S: Final = 0.05

# Takes the seconds that do not count, the seconds that count, and a function to call between them.
_Run: TypeAlias = Callable[[float, float, Callable[[], object]], dict[str, Any]]


@dataclass(frozen=True)
class PausingSpec:
    """Settings of one measurement."""

    program: str  # a key of `benchmarks.suites.pausing.PROGRAMS`
    seconds: float  # how long the program's speed is measured
    skip_s: float  # how long the program computes before that, next to the pool that pauses
    settle_s: float  # how long the pool works before the program begins, including the start of its workers
    idle_after: float  # argument of the pool


def measure(spec: PausingSpec) -> dict[str, Any]:
    """Measure one program.

    The result has "alone", "without" and "with" (the condition). Each has "per_s" (the program's speed in each half
    second), "pauses" (of both pools) and "watts" (None: unknown). The last two have "cpus" (used by the pool after
    `skip_s`), "before_per_s" and "beside_per_s" (the pool's tasks), "paused_s" (from the program's start until the pool
    paused), "resumed_s" (from the program's end until the pool resumed), and "watching" (fraction of a core used by the
    watching thread after `skip_s`). None means that it did not happen, or is unknown.
    """
    with _open_program(spec) as run:
        return {
            "without": _measure_beside(spec, run, (), spec.skip_s * _SHORT_SKIP),
            "alone": run(spec.skip_s * _SHORT_SKIP, spec.seconds, bool),
            "with": _measure_beside(spec, run, (CONDITION,), spec.skip_s),
        }


@contextlib.contextmanager
def _open_program(spec: PausingSpec) -> Iterator[_Run]:
    command = [sys.executable, "-m", "benchmarks.cells.program", spec.program, str(spec.idle_after)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def run(skip: float, seconds: float, between: Callable[[], object]) -> dict[str, Any]:
            if pipe_of(process.stdout).readline() != "ready\n":
                msg = f"the program did not start: {command}"
                raise RuntimeError(msg)
            before_j, begun = _energy_j(), time.perf_counter()
            pipe_of(process.stdin).write(f"{skip} {seconds}\n")
            pipe_of(process.stdin).flush()
            time.sleep(skip)
            between()
            answer = json.loads(pipe_of(process.stdout).readline())
            used_j, elapsed = _energy_j() - before_j, time.perf_counter() - begun
            return {**answer, "watts": used_j / elapsed if used_j > 0 else None}

        try:
            yield run
            pipe_of(process.stdin).close()  # the program ends, with its pool
        except BaseException:
            process.kill()
            raise


def _energy_j() -> float:
    """Return the energy that all processors have used, in J, from a counter that wraps to 0; 0 if it is unreadable."""
    packages = Path("/sys/class/powercap").glob("intel-rapl:?/energy_uj")
    with contextlib.suppress(OSError):  # Linux lets only root read it
        return sum(int(package.read_text(encoding="ascii")) for package in packages) / 1e6
    return 0.0


def _measure_beside(spec: PausingSpec, run: _Run, conditions: Sequence[str], skip: float) -> dict[str, Any]:
    with open_pool(conditions, spec.idle_after) as (executor, pauses):

        def look() -> None:
            used_s = sum(worker.cpu_time or 0.0 for worker in executor.workers())
            looks.append((time.perf_counter_ns(), used_s, _watching_ns()))

        def wait_until_at_work(patience_s: float) -> None:
            deadline = time.monotonic() + patience_s
            while executor.paused_by and time.monotonic() < deadline:
                time.sleep(_PAUSE_S)

        work = start_work(LOAD, executor, WORKERS, 0)
        looks: list[tuple[int, float, int | None]] = []
        try:
            time.sleep(spec.settle_s)
            wait_until_at_work(PATIENCE_S)
            seen = run(skip, spec.seconds, look)
            look()
            wait_until_at_work(spec.idle_after + PATIENCE_S)
            look()
        finally:
            done = stop_work(work, executor)
    begun, end = seen["begun_ns"], seen["end_ns"]
    (counted, used_before, watched), (until, used, _), (at_last, _, watching) = looks
    paused, resumed = pauses.since(begun), pauses.since(end, paused=False)
    return {
        **seen,
        "pauses": seen["pauses"] + len([at for at in paused if at <= end]),
        "cpus": (used - used_before) / (until - counted) * 1e9,
        "before_per_s": sum(begun - _BEFORE_S * 1e9 <= at < begun for at in done) / _BEFORE_S,
        "beside_per_s": sum(counted <= at < end for at in done) / (end - counted) * 1e9,
        "paused_s": (paused[0] - begun) / 1e9 if paused else None,
        "resumed_s": (resumed[0] - end) / 1e9 if paused and resumed else None,
        "watching": None if watched is None or watching is None else (watching - watched) / (at_last - counted),
    }


def _watching_ns() -> int | None:
    """Return the CPU time of the watching thread, in ns; None if there is no such thread or the time is unknown."""
    tids = [thread.native_id for thread in threading.enumerate() if thread.name == "nicefutures-watch"]
    return cpu_ns_of_thread(tids[0]) if tids and tids[0] is not None else None


if __name__ == "__main__":
    json.dump(measure(PausingSpec(**json.loads(sys.argv[1]))), sys.stdout)
