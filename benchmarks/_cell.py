"""One cell: an executor at work, and the foreground beside it. ``python -m benchmarks._cell JSON`` answers in JSON.

The spawned workers import this module as their ``__main__``, and with it NumPy, before their initializer runs. That is
how it is in a user's script; so its BLAS threads exist already when the initializer lowers the process.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final

from ._background import start_job, warm_up_task
from ._foreground import run_beats
from ._levels import process_levels, thread_levels
from ._pools import POOLS
from ._statistics import thin

# Part of a window, where the foreground both computes and draws, in which it computes.
_FRAMES_SHARE: Final = 1 / 3
# Seconds from the start of the work to the start of the window: the queue is full, the clock frequency settled.
_SETTLE: Final = 0.2
# Seconds in which every worker must have done a task.
_PATIENCE: Final = 60.0
# Seconds that a warm-up task goes on, so that no worker takes them all.
_PAUSE: Final = 0.02


@dataclass(frozen=True)
class CellSpec:
    """What to measure.

    Parameters
    ----------
    pool : str or None
        A key of `POOLS`, or None for no background work.
    workers : int
        How many.
    jobs : sequence of str
        "fit", "products": each in a window of its own. Without a pool, the names of the windows.
    seconds : float
        Length of a window.
    foreground : {"frames", "both", "none"}
        Whether the foreground process computes all the time, computes and then draws, or is left out.
    own_window : bool
        Whether the main thread of this process, too, draws 60 times a second: the window of the program with the pool.
    seed : int
        Of the optimizer.
    """

    pool: str | None
    workers: int
    jobs: Sequence[str]
    seconds: float
    foreground: str = "frames"
    own_window: bool = False
    seed: int = 0


def run_cell(spec: CellSpec) -> dict[str, Any]:
    """Measure.

    Returns
    -------
    dict
        "windows", "levels" (how many threads of the workers are at each level) and "blas" (what threadpoolctl tells).
    """
    if spec.pool is None:
        return {"windows": [_measure(spec, None, job) for job in spec.jobs], "levels": {}, "blas": _describe_blas()}
    pool = POOLS[spec.pool]
    with pool.make(spec.workers) as executor:
        levels: dict[str, int] = {}
        windows: list[dict[str, Any]] = []
        for job in spec.jobs:
            levels = _warm_up(executor, job, spec.workers, process_levels if pool.processes else thread_levels)
            windows.append(_measure(spec, executor, job))
    return {"windows": windows, "levels": levels, "blas": _describe_blas()}


def _warm_up(executor: Executor, job: str, workers: int, read_levels: Callable[[], dict[str, int]]) -> dict[str, int]:
    """Run tasks until every worker has done one; return how many threads of them are at each level."""
    task = warm_up_task(job)
    seen: dict[tuple[int, int], dict[str, int]] = {}
    deadline = time.monotonic() + _PATIENCE
    while len(seen) < workers:
        if time.monotonic() > deadline:
            msg = f"only {len(seen)} of {workers} workers did a task within {_PATIENCE:.0f} s"
            raise TimeoutError(msg)
        futures = [executor.submit(_warm_up_worker, task, read_levels) for _ in range(workers)]
        task()  # what this process needs is loaded before the window, too
        seen.update(future.result() for future in futures)
    levels = Counter[str]()
    for each in seen.values():
        levels.update(each)
    return dict(levels)


def _warm_up_worker(
    task: Callable[[], object], read_levels: Callable[[], dict[str, int]]
) -> tuple[tuple[int, int], dict[str, int]]:
    task()
    time.sleep(_PAUSE)
    return (os.getpid(), threading.get_native_id()), read_levels()


def _measure(spec: CellSpec, executor: Executor | None, job: str) -> dict[str, Any]:
    """Measure one window. Times are in µs; those of the beats are in their order."""
    with contextlib.ExitStack() as stack:
        # Before the work starts: on a machine that is busy at normal priority it would take long to.
        foreground = stack.enter_context(_foreground(spec)) if spec.foreground != "none" else None
        background = start_job(job, executor, spec.workers, spec.seed) if executor is not None else None
        try:
            time.sleep(_SETTLE)
            seen, own_beats = _watch(spec, foreground)
        finally:
            done = background.stop() if background is not None else []
    start, end, frames = seen["start_ns"], seen["end_ns"], seen["frames_ns"]
    return {
        "job": job,
        "seconds": (end - start) / 1e9,
        "frames_per_s": len(frames) / (sum(frames) / 1e9) if frames else None,
        "frame_us": thin([round(ns / 1000) for ns in frames]),
        "beat_us": [round(ns / 1000) for ns in seen["beats_ns"]],
        "own_beat_us": [round(ns / 1000) for ns in own_beats],
        "done": sum(start <= when <= end for when in done),
    }


def _watch(spec: CellSpec, foreground: "subprocess.Popen[str] | None") -> tuple[dict[str, Any], list[int]]:
    """Let the window pass; return what the foreground process saw, and the beats of this process in ns."""
    if foreground is None:
        start = time.perf_counter_ns()
        time.sleep(spec.seconds)
        return {"start_ns": start, "end_ns": time.perf_counter_ns(), "frames_ns": [], "beats_ns": []}, []
    stdin, stdout = foreground.stdin, foreground.stdout
    if stdin is None or stdout is None:
        msg = "the foreground process has no pipes"
        raise RuntimeError(msg)
    stdin.write("go\n")
    stdin.flush()
    own_beats = run_beats(spec.seconds) if spec.own_window else []
    return json.loads(stdout.readline()), own_beats


@contextlib.contextmanager
def _foreground(spec: CellSpec) -> "Iterator[subprocess.Popen[str]]":
    """Start the foreground process, and end it."""
    frames_s = spec.seconds * (_FRAMES_SHARE if spec.foreground == "both" else 1)
    command = [sys.executable, "-m", "benchmarks._foreground", str(frames_s), str(spec.seconds - frames_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                msg = f"the foreground process did not start: {command}"
                raise RuntimeError(msg)
            yield process
        finally:
            process.kill()


def _describe_blas() -> list[dict[str, Any]]:
    """Return what threadpoolctl tells of the BLAS and its threads in this process, if it is installed."""
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")  # not a dependency
    except ImportError:
        return []
    keys = ("user_api", "internal_api", "version", "threading_layer", "num_threads")
    return [{key: info.get(key) for key in keys} for info in threadpoolctl.threadpool_info()]


if __name__ == "__main__":
    json.dump(run_cell(CellSpec(**json.loads(sys.argv[1]))), sys.stdout)
