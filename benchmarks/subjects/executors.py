"""The measured executors and pools by a short name, with the recipes that people use to lower their priority."""

import concurrent.futures
import contextlib
import importlib
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import nicefutures
from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

from ..system import LINUX, WINDOWS, lower_by_os_nice, lower_by_psutil, lower_thread


def lower_every_thread() -> None:
    """Lower all threads of this process to nice 19 on Linux: the corrected recipe."""
    if LINUX:
        for task in Path("/proc/self/task").iterdir():
            lower_thread(int(task.name))


class MultiprocessingPool(Executor):
    """`multiprocessing.Pool` as an executor."""

    def __init__(self, workers: int, initializer: Callable[[], None] | None = None) -> None:
        self._pool: Pool = get_context("spawn").Pool(workers, initializer)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in a worker."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._pool.apply_async(fn, args, kwargs, future.set_result, future.set_exception)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers after their tasks, or at once with `cancel_futures`."""
        self._pool.terminate() if cancel_futures else self._pool.close()
        if wait:
            self._pool.join()


class JoblibExecutor(Executor):
    """`joblib.Parallel` as an executor: tasks submitted during a batch are the next batch, as in a loop of calls."""

    def __init__(self, workers: int, initializer: Callable[[], None]) -> None:
        # joblib passes the initializer on to loky's pool.
        self._parallel: Any = importlib.import_module("joblib").Parallel(workers, initializer=initializer, batch_size=1)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: SimpleQueue[tuple[Future[Any], Any]] = SimpleQueue()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in the next batch."""
        future: Future[Any] = Future()
        self._waiting.put((future, (fn, args, kwargs)))
        self._thread.submit(self._run)
        return future

    def _run(self) -> None:
        batch = []
        with contextlib.suppress(Empty):
            while True:
                batch.append(self._waiting.get_nowait())
        batch = [(future, call) for future, call in batch if future.set_running_or_notify_cancel()]
        try:
            results = self._parallel([call for _, call in batch])
        except Exception as error:  # noqa: BLE001, the futures get it
            for future, _ in batch:
                future.set_exception(error)
        else:
            for (future, _), result in zip(batch, results, strict=True):
                future.set_result(result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers."""
        self._thread.shutdown(wait, cancel_futures=cancel_futures)
        importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown(wait)


def _loky(workers: int, initializer: Callable[[], None]) -> Executor:
    executor: Executor = importlib.import_module("loky").ProcessPoolExecutor(workers, initializer=initializer)
    return executor


@dataclass(frozen=True)
class ExecutorKind:
    """An executor to measure.

    `make` takes a number of workers and a priority. Processes are spawned, which works everywhere, and is the default
    on Windows and macOS.
    """

    title: str  # its name in the tables
    make: Callable[[int, str | None], Executor]
    processes: bool = True  # the workers are processes
    priorities: tuple[str, ...] = ()  # that it takes, the default first; empty for an executor without a priority
    workers: int | None = None  # a fixed number; None for the number that a condition asks for
    needs: str = ""  # the package that provides it, if not every environment of the benchmarks has it
    problem: str = ""  # why it cannot be measured on this system; empty if it can
    interpreters: bool = False  # each worker is a thread with its own interpreter; such workers share no objects


_NOT_POSIX: Final = "Windows has no nice" if WINDOWS else ""
_NOT_INTERPRETERS: Final = (
    "" if "PriorityInterpreterPoolExecutor" in nicefutures.__all__ else "only Python 3.14 and later have such a pool"
)
_NOT_LINUX: Final = "" if LINUX else "only Linux has a nice value for each thread"


def _stdlib(initializer: Callable[[], None] | None = None) -> Callable[[int, str | None], Executor]:
    return lambda workers, _: ProcessPoolExecutor(workers, get_context("spawn"), initializer)


def _low(**options: Any) -> Callable[[int, str | None], Executor]:
    # If a priority cannot be set, the table shows the actual one.
    return lambda workers, priority: LowPriorityProcessPoolExecutor(
        workers, get_context("spawn"), priority=priority or "idle", on_denied="ignore", **options
    )


def _priority_thread(latency_target: float | None) -> Callable[[int, str | None], Executor]:
    return lambda workers, priority: PriorityThreadPoolExecutor(
        workers, priority=priority or "below_normal", on_denied="ignore", latency_target=latency_target
    )


def _interpreters(name: str, module: Any, **options: Any) -> Callable[[int, str | None], Executor]:
    def make(workers: int, priority: str | None) -> Executor:
        executor: Executor = getattr(module, name)(workers, **options, **({"priority": priority} if priority else {}))
        return executor

    return make


def _one_by_hand(workers: int, priority: str | None) -> Executor:
    """Return a user's alternative to our pool for tasks that hold the GIL: one worker, and a short switch interval."""
    del workers, priority
    sys.setswitchinterval(0.001)
    return ThreadPoolExecutor(1)


STDLIB_PROCESS: Final = "stdlib-process"
STDLIB_THREAD: Final = "stdlib-thread"
LOW_PROCESS: Final = "low-process"
# Sets the priority but no limit of BLAS threads; and with workers that also yield to other sessions.
LOW_LEVEL_ONLY: Final = "low-process-level"
LOW_ISOLATED: Final = "low-process-isolated"
BY_HAND: Final = "by-hand"
# Sets the priority only, as by default; and with a latency target for a window.
PRIORITY_THREAD: Final = "priority-thread"
AWARE_THREAD: Final = "aware-thread"
STDLIB_INTERPRETER: Final = "stdlib-interpreter"
PRIORITY_INTERPRETER: Final = "priority-interpreter"
_THREAD_LEVELS: Final = ("below_normal", "idle", "lowest", "normal", "above_normal", "highest", "time_critical")
EXECUTORS: Final = {
    STDLIB_PROCESS: ExecutorKind("ProcessPoolExecutor", _stdlib()),
    "recipe-psutil": ExecutorKind("ProcessPoolExecutor, psutil nice()", _stdlib(lower_by_psutil)),
    "recipe-os-nice": ExecutorKind("ProcessPoolExecutor, os.nice(19)", _stdlib(lower_by_os_nice), problem=_NOT_POSIX),
    "every-thread-nice": ExecutorKind(
        "ProcessPoolExecutor, nice 19 on every thread", _stdlib(lower_every_thread), problem=_NOT_LINUX
    ),
    "pool": ExecutorKind("multiprocessing.Pool", lambda workers, _: MultiprocessingPool(workers)),
    "pool-recipe": ExecutorKind(
        "multiprocessing.Pool, psutil nice()", lambda workers, _: MultiprocessingPool(workers, lower_by_psutil)
    ),
    "joblib-recipe": ExecutorKind(
        "joblib, psutil nice()", lambda workers, _: JoblibExecutor(workers, lower_by_psutil), needs="joblib"
    ),
    "loky-recipe": ExecutorKind(
        "loky, psutil nice()", lambda workers, _: _loky(workers, lower_by_psutil), needs="loky"
    ),
    LOW_PROCESS: ExecutorKind("LowPriorityProcessPoolExecutor", _low(), priorities=("idle", "below_normal", "normal")),
    LOW_LEVEL_ONLY: ExecutorKind(
        "LowPriorityProcessPoolExecutor, BLAS threads left alone", _low(blas_threads=None), priorities=("idle",)
    ),
    LOW_ISOLATED: ExecutorKind(
        "LowPriorityProcessPoolExecutor, isolated",
        _low(isolate=True),
        priorities=("idle",),
        problem="" if LINUX else "only Linux ranks sessions apart",
    ),
    STDLIB_THREAD: ExecutorKind("ThreadPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers), processes=False),
    BY_HAND: ExecutorKind("ThreadPoolExecutor(1), switch interval 1 ms", _one_by_hand, processes=False, workers=1),
    PRIORITY_THREAD: ExecutorKind(
        "PriorityThreadPoolExecutor", _priority_thread(None), processes=False, priorities=_THREAD_LEVELS
    ),
    AWARE_THREAD: ExecutorKind(
        "PriorityThreadPoolExecutor, latency_target=0.005",
        _priority_thread(0.005),
        processes=False,
        priorities=_THREAD_LEVELS,
    ),
    STDLIB_INTERPRETER: ExecutorKind(
        "InterpreterPoolExecutor",
        _interpreters("InterpreterPoolExecutor", concurrent.futures),
        processes=False,
        problem=_NOT_INTERPRETERS,
        interpreters=True,
    ),
    PRIORITY_INTERPRETER: ExecutorKind(
        "PriorityInterpreterPoolExecutor",
        _interpreters("PriorityInterpreterPoolExecutor", nicefutures, on_denied="ignore"),
        processes=False,
        priorities=_THREAD_LEVELS,
        problem=_NOT_INTERPRETERS,
        interpreters=True,
    ),
}


def stdlib_of(executor: str) -> str:
    """Return the executor of the standard library that `executor` replaces."""
    return STDLIB_PROCESS if EXECUTORS[executor].processes else STDLIB_THREAD


def title_of(executor: str, priority: str | None) -> str:
    """Return the executor's name in tables."""
    kind = EXECUTORS[executor]
    return f"{kind.title}, {priority}" if priority is not None else kind.title
