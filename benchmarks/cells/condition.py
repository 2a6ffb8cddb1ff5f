"""One cell: a condition, measured. ``python -m benchmarks.cells.condition JSON`` answers in JSON.

The spawned workers import this module as their ``__main__``, and with it NumPy, before their initializer runs. That is
how it is in a user's script; so its BLAS threads exist already when the initializer lowers the process.
"""

import contextlib
import importlib
import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final

from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads.controller import controller

from ..subjects.background import Late, start_work, warm_up
from ..subjects.condition import NOTHING, Condition
from ..subjects.executors import EXECUTORS, open_executor
from ..subjects.loads import FIT
from ..system import LINUX, usable_cpus
from ..watching.heartbeat import paint_for
from ..watching.levels import process_levels, thread_levels
from ..watching.machine import ask_control, control_machine, pipe_of
from ..watching.windows import UIS, RunWindow

# Part of a window, where the foreground both computes and beats, in which it computes.
_FRAMES_SHARE: Final = 1 / 3
# Seconds from the start of the work to the start of the window: the queue is full, the clock frequency settled.
_SETTLE: Final = 0.2
# Seconds in which every worker must have done a task.
_PATIENCE: Final = 60.0
# Seconds that a warm-up task goes on, so that no worker takes them all.
_PAUSE: Final = 0.02
# Seconds between the warm-up and the work: a pool that regards how its tasks wait is to forget those that met.
_REST: Final = 0.3


def run_cell(condition: Condition, seconds: float, seed: int) -> dict[str, Any]:
    """Measure a condition.

    Parameters
    ----------
    condition : Condition
        What to measure.
    seconds : float
        Length of the window.
    seed : int
        Of the optimizer.

    Returns
    -------
    dict
        "seconds", "ui" and "foreground" (what each saw), "done" (pieces of work in the window), "controller_cpu_share"
        (part of one core that the thread used which sets the limit of our thread pools), "begun_ns" (how late each task
        began that tells it), "machine" (when it
        stood still itself; None if that cannot be told), "levels" (how many threads of the workers are at each level),
        "python", "gil" and "blas" (what threadpoolctl tells).
    """
    with contextlib.ExitStack() as stack:
        control = stack.enter_context(control_machine())
        # What is not lowered starts before the load: beside a load of normal priority it would take long to.
        foreground = stack.enter_context(_foreground(condition, seconds)) if condition.foreground else None
        run_window = stack.enter_context(UIS[condition.ui]()) if condition.ui else None
        levels: dict[str, int] = {}
        executor = None
        if condition.executor != NOTHING:
            executor = stack.enter_context(open_executor(condition.executor, condition.workers, condition.priority))
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
    """Run tasks until every worker has done one; return how many threads of them are at each level."""
    kind, load = EXECUTORS[condition.executor], condition.load or ""
    processes, workers = kind.processes, kind.workers or condition.workers
    if load == FIT:
        warm_up(load)  # its optimizer runs in this process
    # Threads can wait for each other, so that each gets one of the tasks.
    meeting = None if processes else threading.Barrier(workers)
    seen: dict[tuple[int, int], dict[str, int]] = {}
    deadline = time.monotonic() + _PATIENCE
    while len(seen) < workers:
        if time.monotonic() > deadline:
            msg = f"only {len(seen)} of {workers} workers did a task within {_PATIENCE:.0f} s"
            raise TimeoutError(msg)
        futures = [executor.submit(_warm_up_worker, load, meeting) for _ in range(workers)]
        seen.update(future.result() for future in futures)
    levels = Counter[str]()
    for each in seen.values():
        levels.update(each)
    time.sleep(_REST)
    return dict(levels)


def _warm_up_worker(load: str, meeting: threading.Barrier | None) -> tuple[tuple[int, int], dict[str, int]]:
    warm_up(load)
    if meeting is not None:
        meeting.wait(_PATIENCE)
        return (os.getpid(), threading.get_native_id()), thread_levels()
    time.sleep(_PAUSE)
    return (os.getpid(), threading.get_native_id()), process_levels()


def _measure(
    condition: Condition,
    seconds: float,
    seed: int,
    executor: Executor | None,
    foreground: "subprocess.Popen[str] | None",
    run_window: RunWindow | None,
    foreign: "Sequence[subprocess.Popen[bytes]]",
) -> dict[str, Any]:
    """Measure one window."""
    paint = paint_for(condition.drawing_ms)  # on a machine that is idle as yet
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
        # First, for beside them a lowered task may take for ever.
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
    """Return what tells how many of its workers an executor lets run, if it is one that limits them."""
    return (lambda: executor.stats().limit) if isinstance(executor, PriorityThreadPoolExecutor) else None


def _controller_ns() -> int:
    """Return the CPU time, in ns, of the thread that sets the limit; 0 without one, or where it is not told."""
    watcher = controller.watcher
    if LINUX and watcher is not None and watcher.tid is not None:
        # Its first number: Documentation/scheduler/sched-stats.rst.
        return int(Path(f"/proc/self/task/{watcher.tid}/schedstat").read_text(encoding="ascii").split()[0])
    return 0


@contextlib.contextmanager
def _foreground(condition: Condition, seconds: float) -> "Iterator[subprocess.Popen[str]]":
    """Start the foreground process, and end it."""
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
    """Keep the machine busy with processes of normal priority."""
    command = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _describe_blas() -> list[dict[str, Any]]:
    """Return what threadpoolctl tells of the BLAS and its threads in this process, if it is installed."""
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return []
    keys = ("user_api", "internal_api", "version", "threading_layer", "num_threads")
    return [{key: info.get(key) for key in keys} for info in threadpoolctl.threadpool_info()]


def main(argument: str) -> dict[str, Any]:
    """Measure what the JSON asks for."""
    spec = json.loads(argument)
    return run_cell(Condition.from_json(spec["condition"]), spec["seconds"], spec["seed"])


if __name__ == "__main__":
    json.dump(main(sys.argv[1]), sys.stdout)
