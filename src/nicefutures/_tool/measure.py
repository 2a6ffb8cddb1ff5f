"""How much speed a program loses while a pool computes: the measurement behind ``nicefutures doctor``.

The foreground has one process for each CPU. A single process would lose nothing to a pool in another session, which
gets at most half of the machine. The processes share one session, because each session gets its own share.
"""

import contextlib
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, wait
from typing import Any, Final, NamedTuple

from .._processes.executor import LowPriorityProcessPoolExecutor
from .._processes.interrupts import held_back

# Errors of starting processes and communicating with them; the last two where a system lacks semaphores.
FAILURES: Final = (OSError, EOFError, BrokenExecutor, ImportError, NotImplementedError)

# Many short rounds: a cell is compared with one of the same round, so other programs that begin or end matter less.
ROUNDS: Final = 6
_FRAME_NS: Final = 2e6  # of work, on an idle machine
_SETTLE: Final = 0.2  # seconds at the beginning of a window in which the scheduler still distributes the load
_SHORTEST_WINDOW: Final = 0.05
_LEAD: Final = 0.03  # seconds for the order of a window to reach the processes
_MOST_WORKERS: Final = 61  # of a pool, on Windows
_PATIENCE: Final = 20.0  # seconds that a pool has to start all its workers

_spawn: Final = multiprocessing.get_context("spawn")
# A terminal's Ctrl-C reaches every process. The processes ignore it, because the doctor ends them.
_DEAF: Final = (signal.signal, (signal.SIGINT, signal.SIG_IGN))


class Measurement(NamedTuple):
    """The speed of the foreground next to one pool."""

    session: str  # "same" or "other": whether the foreground is in the session of the pool
    pool: str  # computes at the same time: "nothing", "stdlib", "low" or "isolated"
    frames_per_second: float  # sum over the processes of the foreground; the median of the rounds
    share: float  # fraction of the speed without a pool in the same round; the median of the rounds
    spread: float  # the slowest round's speed over the fastest one's
    p95_ms: float  # 95th percentile of a frame's duration


def measure(
    cpus: int, seconds: float, *, sessions: bool, isolate: bool, progress: Callable[[float], None]
) -> list[Measurement]:
    """Measure every cell, interleaved, for `seconds` in total or a little longer.

    Raise one of `FAILURES` if the processes cannot be started.
    """
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        with held_back("spawn"):  # where the system can, permanently from processes that start here
            foregrounds, pools = _start(stack, cpus, sessions=sessions, isolate=isolate)
        cells = [(session, pool) for session in foregrounds for pool in ("nothing", *pools)]
        cells = [cell for cell in cells if cell != ("same", "isolated")]
        window = max((begin + seconds - time.monotonic()) / ROUNDS / len(cells) - _LEAD, _SHORTEST_WINDOW)
        frames: dict[tuple[str, str], list[list[int]]] = {cell: [] for cell in cells}
        for _ in range(ROUNDS):
            for session, pool in cells:
                progress((time.monotonic() - begin) / seconds)
                frames[session, pool].append(_run(foregrounds[session], pools.get(pool), cpus, window))
    measured = window - _settling(window)
    return [_summarize(*cell, frames[cell], frames[cell[0], "nothing"], measured) for cell in cells]


def _start(
    stack: contextlib.ExitStack, cpus: int, *, sessions: bool, isolate: bool
) -> tuple[dict[str, "_Foreground"], dict[str, Executor]]:
    """Start all processes; those without work sleep."""
    turns = _calibrate()
    foregrounds = {}
    for session in ("same", "other") if sessions else ("same",):
        foregrounds[session] = _Foreground(cpus, turns, other_session=session == "other")
        stack.callback(foregrounds[session].close)
    workers = _count_workers(cpus)
    pools: dict[str, Executor] = {}
    pools["stdlib"] = stack.enter_context(ProcessPoolExecutor(workers, _spawn, *_DEAF))
    pools["low"] = stack.enter_context(LowPriorityProcessPoolExecutor(workers, _spawn, *_DEAF))
    if isolate:
        pools["isolated"] = stack.enter_context(LowPriorityProcessPoolExecutor(workers, _spawn, *_DEAF, isolate=True))
    for pool in pools.values():
        _wake(pool, workers)
    return foregrounds, pools


def _count_workers(cpus: int) -> int:
    return min(2 * cpus, _MOST_WORKERS)


def _wake(pool: Executor, workers: int) -> None:
    """Start the pool's workers, and wait until all have answered; with isolation they come one by one."""
    awake: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    while len(awake) < workers and time.monotonic() < deadline:
        awake.update(pool.map(_answer, [0.1] * workers))


def _run(foreground: "_Foreground", pool: Executor | None, cpus: int, window: float) -> list[int]:
    """Run the foreground while the pool computes; return the duration of each frame in ns."""
    begin = time.monotonic() + _LEAD
    end = begin + window
    tasks = [pool.submit(_spin, end) for _ in range(_count_workers(cpus))] if pool is not None else []
    frames = foreground.run(begin + _settling(window), end)
    wait(tasks)
    for task in tasks:
        task.result()
    return frames


def _settling(window: float) -> float:
    return min(_SETTLE, window / 3)


def _summarize(session: str, pool: str, rounds: list[list[int]], alone: list[list[int]], seconds: float) -> Measurement:
    speeds = [len(frames) / seconds for frames in rounds]
    # Without a complete frame in the window, the frame took longer than the window.
    durations = sorted(frame for frames in rounds for frame in frames or [int(seconds * 1e9)])
    return Measurement(
        session,
        pool,
        frames_per_second=round(statistics.median(speeds), 1),
        share=round(statistics.median(len(a) / max(len(b), 1) for a, b in zip(rounds, alone, strict=True)), 3),
        spread=round(min(speeds) / max(*speeds, 1e-9), 2),
        p95_ms=round(durations[int(0.95 * len(durations))] / 1e6, 3),
    )


# --- code of the processes


class _Foreground:
    """Processes that compute equal frames, in this session or together in another one."""

    def __init__(self, processes: int, turns: int, *, other_session: bool) -> None:
        self._connection, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, processes, turns, other_session))
        try:
            self._process.start()
            theirs.close()
            self._receive()
        except BaseException:
            self.close()
            raise

    def run(self, begin: float, end: float) -> list[int]:
        """Compute until `end`; return the duration in ns of each complete frame that began after `begin`."""
        self._connection.send((begin, end))
        return self._receive()

    def close(self) -> None:
        """End the processes."""
        self._connection.close()
        if self._process.pid is not None:
            self._process.join()

    def _receive(self) -> list[int]:
        answer: list[int] | Exception = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection: Any, processes: int, turns: int, other_session: bool) -> None:
    """Serve as a foreground until the other end of `connection` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if other_session and hasattr(os, "setsid"):
        os.setsid()
    with contextlib.suppress(EOFError, ConnectionError):
        try:
            with ProcessPoolExecutor(processes, _spawn, *_DEAF) as pool:
                _wake(pool, processes)
                connection.send([])
                while True:
                    orders = [(*connection.recv(), turns)] * processes
                    connection.send([frame for frames in pool.map(_compute, orders) for frame in frames])
        except (EOFError, ConnectionError):
            raise
        except FAILURES as error:
            connection.send(error)


def _answer(seconds: float) -> int:
    time.sleep(seconds)  # so that the other workers get calls, too
    return os.getpid()


def _compute(order: tuple[float, float, int]) -> list[int]:
    begin, end, turns = order
    frames = []
    while (start := time.monotonic()) < end:
        duration = _frame(turns)
        if start >= begin and time.monotonic() <= end:
            frames.append(duration)
    return frames


def _spin(end: float) -> None:
    while time.monotonic() < end:  # one clock for all processes of a machine (PEP 418)
        _frame(1000)


def _frame(turns: int) -> int:
    start = time.perf_counter_ns()
    total = 0
    for number in range(turns):
        total += number * number % 7
    return time.perf_counter_ns() - start


def _calibrate() -> int:
    turns = 2000
    return max(1, round(turns * _FRAME_NS / min(_frame(turns) for _ in range(100))))
