"""Keeps an executor busy, and tells how much it did and when."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final, Protocol

from ._products import multiply

# Few, so that a worker that gets little of the CPU has not much to finish; many enough that a task dwarfs its queueing.
_PRODUCTS_PER_TASK: Final = 2
# Tasks per worker in the queue: no worker waits for the parent.
_QUEUE_DEPTH: Final = 4


class Background(Protocol):
    """Work under way in an executor."""

    def stop(self) -> list[int]:
        """Stop, and return when each piece of work was done, in ns of `time.perf_counter_ns`."""


class Products:
    """Matrix products: whenever a task is done, another is put into the queue."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self._changed = threading.Condition()
        self._futures: set[Future[list[int]]] = set()
        self._done: list[int] = []
        self._error: BaseException | None = None
        self._stopped = False
        for _ in range(workers * _QUEUE_DEPTH):
            self._submit()

    def _submit(self) -> None:
        with self._changed:
            if self._stopped:
                return
            future = self._executor.submit(multiply, _PRODUCTS_PER_TASK)
            self._futures.add(future)
        future.add_done_callback(self._collect)

    def _collect(self, future: Future[list[int]]) -> None:
        if not future.cancelled():
            self._error = self._error or future.exception()
            if self._error is None:
                self._done.extend(future.result())
                self._submit()
        with self._changed:
            self._futures.discard(future)
            self._changed.notify_all()

    def stop(self) -> list[int]:
        """Stop, and return when each product was done; what runs is waited for."""
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
        from ._fit import fit_until

        try:
            self._done = fit_until(self._stop.is_set, self._executor, self._seed)
        except BaseException as error:  # noqa: BLE001, raised again by stop()
            self._error = error

    def stop(self) -> list[int]:
        """Stop, and return when each call of the model was done; the generation under way is waited for."""
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._done


def start_job(job: str, executor: Executor, workers: int, seed: int) -> Background:
    """Start "products" or "fit"."""
    if job == "products":
        return Products(executor, workers)
    if job == "fit":
        return Fit(executor, seed)
    msg = f"job must be 'products' or 'fit', not {job!r}"
    raise ValueError(msg)


def warm_up_task(job: str) -> Callable[[], object]:
    """Return a short task that makes a worker load what `job` needs, and make its threads."""
    if job == "products":
        return _warm_up_products
    return _warm_up_fit


def _warm_up_products() -> None:
    multiply(1)


def _warm_up_fit() -> None:
    from ._fit import TRUTH, misfit

    misfit(TRUTH)
