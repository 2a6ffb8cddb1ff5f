"""A condition: ``python -m benchmarks.cells.condition JSON`` measures it and answers in JSON.

Spawned workers import this module as their ``__main__``, and NumPy with it, before their initializer runs, as with a
user's script. So the BLAS threads exist already when the initializer lowers the process.
"""

import contextlib
import importlib
import json
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from typing import Any, Final

from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads.controller import controller

from ..subjects.background import Late, start_work, warm_up_task
from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import EXECUTORS
from ..subjects.loads import FIT
from ..system import cpu_ns_of_thread, usable_cpus
from ..watching.heartbeat import paint_for
from ..watching.machine import ask_control, control_machine, pipe_of
from ..watching.windows import UIS, RunWindow
from .worker import PATIENCE, warm_up

# Fraction of the measurement in which the foreground computes frames; it beats in the rest.
_FRAMES_SHARE: Final = 1 / 3
# Seconds between the start of the work and of the measurement, to fill the queue and settle the clock frequency.
_SETTLE: Final = 0.2
# Seconds between the warm-up and the work. A pool that observes its tasks must forget those that waited to meet.
_REST: Final = 0.3


def run_cell(condition: Condition, seconds: float, seed: int) -> dict[str, Any]:
    """Measure a condition; the seed is that of the optimizer.

    The result has "seconds", "ui" and "foreground" (the beats of each), "done" (pieces of work in that time),
    "controller_cpu_share" (fraction of a core used by the thread that limits the workers of our thread pools),
    "begun_ns" (delays of the probe tasks), "machine" (stalls of the machine itself; None if unknown), "levels" (number
    of the workers' threads at each priority), "python", "gil" and "blas" (the report of threadpoolctl).
    """
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(control_machine())
        # The windows start before the load: a load at normal priority would delay their start.
        foreground = stack.enter_context(_foreground(condition, seconds)) if condition.foreground else None
        run_window = stack.enter_context(UIS[condition.ui]()) if condition.ui else None
        levels: dict[str, int] = {}
        executor = None
        if condition.executor != NOTHING:
            executor = stack.enter_context(EXECUTORS[condition.executor].make(condition.workers, condition.priority))
            levels = _warm_up(executor, condition)
        foreign = stack.enter_context(_foreign_processes(condition.foreign))
        if condition.switch_ms is not None:
            sys.setswitchinterval(condition.switch_ms / 1e3)
        measured = _measure(condition, seconds, seed, executor, foreground, run_window, foreign)
        machine = ask_control(control)
    gil = bool(getattr(sys, "_is_gil_enabled", lambda: True)())
    return {
        **measured,
        "machine": machine,
        "levels": levels,
        "python": platform.python_version(),
        "gil": gil,
        "blas": _describe_blas(),
    }


def _warm_up(executor: Executor, condition: Condition) -> dict[str, int]:
    """Run tasks until every worker has done one; return the number of their threads at each priority."""
    kind, load = EXECUTORS[condition.executor], condition.load or ""
    workers = kind.workers or condition.workers
    task = warm_up_task(load)
    if load == FIT and task is not None:
        task()  # the optimizer runs in this process
    # Threads of one interpreter can wait for each other, so that each gets one of the tasks.
    meeting = None if kind.processes or kind.interpreters else threading.Barrier(workers)
    seen: dict[tuple[int, int], dict[str, int]] = {}
    deadline = time.monotonic() + PATIENCE
    while len(seen) < workers:
        if time.monotonic() > deadline:
            msg = f"only {len(seen)} of {workers} workers did a task within {PATIENCE:.0f} s"
            raise TimeoutError(msg)
        futures = [executor.submit(warm_up, task, meeting, not kind.processes) for _ in range(workers)]
        seen.update(future.result() for future in futures)
    levels = Counter[str]()
    for each in seen.values():
        levels.update(each)
    time.sleep(_REST)
    return dict(levels)


def _measure(
    condition: Condition,
    seconds: float,
    seed: int,
    executor: Executor | None,
    foreground: "subprocess.Popen[str] | None",
    run_window: RunWindow | None,
    foreign: "Sequence[subprocess.Popen[bytes]]",
) -> dict[str, Any]:
    """Measure while the work runs."""
    paint = paint_for(condition.drawing_ms)  # while the machine is still idle
    background = (
        start_work(condition.load or "", executor, condition.workers, seed, condition.feeding, seconds + _SETTLE)
        if executor is not None
        else None
    )
    try:
        time.sleep(_SETTLE)
        start = time.perf_counter_ns()
        if foreground is not None:
            pipe_of(foreground.stdin).write("go\n")
            pipe_of(foreground.stdin).flush()
        watched = _controller_ns()
        schedule = run_window(seconds, _limit_of(executor), paint) if run_window is not None else None
        watched = _controller_ns() - watched
        seen = json.loads(pipe_of(foreground.stdout).readline()) if foreground is not None else None
        if schedule is None and seen is None:
            time.sleep(seconds)
        end = time.perf_counter_ns()
    finally:
        # First, because a low-priority task may take forever while they run.
        for process in foreign:
            process.kill()
        done = background.stop() if background is not None else []
    if seen is not None:
        start, end = seen.pop("start_ns"), seen.pop("end_ns")
    return {
        "seconds": round((end - start) / 1e9, 6),
        "done": sum(start <= when <= end for when in done),
        "ui": schedule.result() if schedule is not None else None,
        "foreground": seen,
        "controller_cpu_share": round(watched / (end - start), 5),
        "begun_ns": background.begun_ns if isinstance(background, Late) else [],
    }


def _limit_of(executor: Executor | None) -> Callable[[], int] | None:
    """Return a function that returns the limit of an executor's running workers; None if it has no limit."""
    return (lambda: executor.stats().limit) if isinstance(executor, PriorityThreadPoolExecutor) else None


def _controller_ns() -> int:
    """Return the CPU time, in ns, of the thread that sets the limit; 0 if there is none or the time is unknown."""
    watcher = controller.watcher
    return cpu_ns_of_thread(watcher.tid) or 0 if watcher is not None and watcher.tid is not None else 0


@contextlib.contextmanager
def _foreground(condition: Condition, seconds: float) -> "Iterator[subprocess.Popen[str]]":
    """Start the foreground process; end it on exit."""
    frames_s = seconds * _FRAMES_SHARE
    others = usable_cpus() - 1 if condition.foreground == "busy-session" else 0
    command = [
        sys.executable,
        "-m",
        "benchmarks.watching.foreground",
        str(frames_s),
        str(seconds - frames_s),
        str(others),
    ]
    other_session = condition.foreground != "same-session"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=other_session
    ) as process:
        try:
            if pipe_of(process.stdout).readline() != "ready\n":
                msg = f"the foreground process did not start: {command}"
                raise RuntimeError(msg)
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def _foreign_processes(count: int) -> "Iterator[Sequence[subprocess.Popen[bytes]]]":
    """Keep the machine busy with processes at normal priority."""
    command = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _describe_blas() -> list[dict[str, Any]]:
    """Return threadpoolctl's report on the BLAS and its threads in this process, if threadpoolctl is installed."""
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return []
    keys = ("user_api", "internal_api", "version", "threading_layer", "num_threads")
    return [{key: info.get(key) for key in keys} for info in threadpoolctl.threadpool_info()]


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    json.dump(run_cell(Condition(**spec["condition"]), spec["seconds"], spec["seed"]), sys.stdout)
