"""Work that keeps an executor busy, and records when each piece was done."""

import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, Final, Protocol

from .condition import AT_ONCE, CALLBACKS
from .loads import FIT, LOADS, Load

# Tasks per worker in the queue, so that no worker waits for the parent.
_QUEUE_DEPTH: Final = 4
# Number of tasks that are submitted at once, relative to those that one worker does in the time. Some tasks must be
# left at the end, even if several of them release the GIL or wait.
_MORE_THAN_ENOUGH: Final = 3
# Seconds between two probe tasks, which record how late they begin.
_PROBE_PERIOD_S: Final = 0.25


class Background(Protocol):
    """Running work of an executor."""

    def stop(self) -> list[int]:
        """Stop; return the time at which each piece of work was done, in ns of `time.perf_counter_ns`."""


class Tasks:
    """The tasks of a load: each task that ends submits another one."""

    def __init__(self, executor: Executor, load: Load, workers: int) -> None:
        self._executor = executor
        self._load = load
        self._changed = threading.Condition()
        self._futures: set[Future[Any]] = set()
        self._done: list[int] = []
        self._error: BaseException | None = None
        self._stopped = False
        for _ in range(workers * _QUEUE_DEPTH):
            self._submit()

    def _submit(self) -> None:
        with self._changed:
            if self._stopped:
                return
            future = self._executor.submit(self._load.task)
            self._futures.add(future)
        future.add_done_callback(self._collect)

    def _go_on(self) -> None:
        """Submit the next task, because one is done."""
        self._submit()

    def _collect(self, future: Future[Any]) -> None:
        if not future.cancelled():
            self._done += [time.perf_counter_ns()] * self._load.units
            self._error = self._error or future.exception()
            if self._error is None:
                self._go_on()
        with self._changed:
            self._futures.discard(future)
            self._changed.notify_all()

    def stop(self) -> list[int]:
        """Stop after the running tasks; return the time at which each piece of work was done."""
        with self._changed:
            self._stopped = True
            queued = list(self._futures)
        for future in queued:
            future.cancel()
        with self._changed:
            # Not `concurrent.futures.wait`: that returns before the callbacks have run.
            self._changed.wait_for(lambda: not self._futures)
        if self._error is not None:
            raise self._error
        return self._done


class Fed(Tasks):
    """The tasks of a load, submitted by a thread: one for each task that ends."""

    def __init__(self, executor: Executor, load: Load, workers: int) -> None:
        self._room = threading.Semaphore(workers * _QUEUE_DEPTH)
        super().__init__(executor, load, 0)
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)
        self._thread.start()

    def _feed(self) -> None:
        while not self._stopped:
            self._room.acquire()
            self._submit()

    def _go_on(self) -> None:
        self._room.release()

    def stop(self) -> list[int]:
        """Stop after the running tasks; return the time at which each piece of work was done."""
        self._stopped = True
        self._room.release()
        self._thread.join()
        return super().stop()


class AtOnce(Tasks):
    """The tasks of a load, all submitted at the start: more than can be done."""

    def __init__(self, executor: Executor, load: Load, seconds: float) -> None:
        super().__init__(executor, load, 0)
        began = time.perf_counter()
        load.task()
        for _ in range(round(_MORE_THAN_ENOUGH * seconds / (time.perf_counter() - began))):
            self._submit()

    def _go_on(self) -> None:
        pass


class Endless:
    """Tasks that repeat a load's task, one for each worker, in threads."""

    def __init__(self, executor: Executor, load: Load, workers: int) -> None:
        self._executor = executor
        self._load = load
        self._stopped = threading.Event()
        self._done: list[int] = []
        self._futures = [executor.submit(self._run) for _ in range(workers)]

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._load.task()
            self._done.append(time.perf_counter_ns())

    def stop(self) -> list[int]:
        """Stop; return the time at which each piece of work was done."""
        self._stopped.set()
        for future in self._futures:
            future.result()
        return self._done


class Late(Endless):
    """One such task, and probe tasks that are submitted one after the other while it runs."""

    def __init__(self, executor: Executor, load: Load) -> None:
        super().__init__(executor, load, 1)
        self.begun_ns: list[int] = []  # time from the `submit` of each probe task until it began
        self._thread = threading.Thread(target=self._probe, name="probes", daemon=True)
        self._thread.start()

    def _probe(self) -> None:
        while not self._stopped.wait(_PROBE_PERIOD_S):
            submitted = time.perf_counter_ns()
            self.begun_ns.append(self._executor.submit(time.perf_counter_ns).result() - submitted)

    def stop(self) -> list[int]:
        """Stop; return the time at which each piece of work was done."""
        done = super().stop()
        self._thread.join()
        return done


class Fit:
    """SciPy's optimizer in a thread, as a program with a window would run it, and the model in the executor."""

    def __init__(self, executor: Executor, seed: int) -> None:
        self._executor = executor
        self._seed = seed
        self._stop = threading.Event()
        self._done: list[int] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="optimizer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        from .fit import fit_until

        try:
            self._done = fit_until(self._stop.is_set, self._executor, self._seed)
        except BaseException as error:  # noqa: BLE001, raised again by stop()
            self._error = error

    def stop(self) -> list[int]:
        """Stop after the current generation; return the time at which each call of the model was done."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done


def start_work(
    load: str, executor: Executor, workers: int, seed: int, feeding: str = CALLBACKS, seconds: float = 0.0
) -> Background:
    """Start a load of `LOADS`, or "fit". `seconds` is how long it must last if all tasks are submitted at once."""
    if load == FIT:
        return Fit(executor, seed)
    if load == "endless":
        return Endless(executor, LOADS[load], workers)
    if load == "late":
        return Late(executor, LOADS[load])
    if feeding == "thread":
        return Fed(executor, LOADS[load], workers)
    if feeding == AT_ONCE:
        return AtOnce(executor, LOADS[load], seconds)
    return Tasks(executor, LOADS[load], workers)


def warm_up_task(load: str) -> Callable[[], object] | None:
    """Return a task that makes a worker import the modules that `load` needs, and start their threads."""
    if load == FIT:
        from .fit import TRUTH, misfit

        return functools.partial(misfit, TRUTH)
    return None if load == "stall" else LOADS[load].task
