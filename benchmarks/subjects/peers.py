"""The pools whose costs are compared, each opened in its own way.

This module does not import NumPy: see :mod:`benchmarks.cells.overhead`.
"""

import contextlib
import functools
import importlib
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from nicefutures import LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor

WORKERS: Final = 2


class Opened(NamedTuple):
    """An open pool: a call that returns its result, the default `map`, and a `map` that yields results one by one."""

    call: Callable[..., Any]
    map: Callable[..., Iterable[Any]]
    stream: Callable[..., Iterable[Any]]


@contextlib.contextmanager
def _open_executor(make: Callable[..., Executor], **of_map: Any) -> Iterator[Opened]:
    with make(WORKERS) as executor:
        many = functools.partial(executor.map, **of_map)
        yield Opened(lambda fn, *args: executor.submit(fn, *args).result(), many, executor.map)


def _executor(make: Callable[..., Executor]) -> Callable[..., Any]:
    return functools.partial(_open_executor, make)


def _process(make: Callable[..., Executor], context: str, **of_map: Any) -> Callable[..., Any]:
    return lambda: _open_executor(functools.partial(make, mp_context=multiprocessing.get_context(context)), **of_map)


def _low(context: str, *, chunksize: int | str, **options: Any) -> Callable[..., Any]:
    return _process(functools.partial(LowPriorityProcessPoolExecutor, **options), context, chunksize=chunksize)


def _loky() -> Any:
    return _open_executor(importlib.import_module("loky").ProcessPoolExecutor)


@contextlib.contextmanager
def _pebble() -> Iterator[Opened]:
    pebble: Any = importlib.import_module("pebble")
    context = multiprocessing.get_context("spawn")
    with pebble.ProcessPool(WORKERS, context=context) as pool:

        def many(fn: Callable[..., Any], items: Iterable[Any]) -> Any:
            return pool.map(fn, items).result()

        yield Opened(lambda fn, *args: pool.schedule(fn, args).result(), many, many)


@contextlib.contextmanager
def _pool() -> Iterator[Opened]:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        yield Opened(lambda fn, *args: pool.apply(fn, args), pool.map, pool.imap)


@contextlib.contextmanager
def _joblib(backend: str = "loky") -> Iterator[Opened]:
    joblib: Any = importlib.import_module("joblib")
    if backend != "loky":
        importlib.import_module("nicefutures.integrations.joblib").register()
    stream = joblib.Parallel(WORKERS, backend=backend, return_as="generator", batch_size=1)
    with joblib.Parallel(WORKERS, backend=backend) as parallel:

        def calls(fn: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
            return (joblib.delayed(fn)(item) for item in items)

        yield Opened(
            lambda fn, *args: parallel([joblib.delayed(fn)(*args)]),
            lambda fn, items: parallel(calls(fn, items)),
            lambda fn, items: stream(calls(fn, items)),
        )
    # joblib keeps its workers for the next call, but a new pool should start new ones.
    importlib.import_module("joblib.externals.loky").get_reusable_executor().shutdown()


class Peer(NamedTuple):
    """A pool to measure: its title, the function that opens it, the module to import, and the peer to compare with."""

    title: str
    open: Callable[..., Any]
    module: str
    reference: str


PEERS: Final = {
    "stdlib-spawn": Peer(
        "ProcessPoolExecutor, spawn", _process(ProcessPoolExecutor, "spawn"), "concurrent.futures.process", ""
    ),
    # In chunks of one, as in the standard library; chunks of automatic size are measured separately.
    "low-spawn": Peer(
        "LowPriorityProcessPoolExecutor, spawn", _low("spawn", chunksize=1), "nicefutures", "stdlib-spawn"
    ),
    "normal-spawn": Peer(
        "LowPriorityProcessPoolExecutor, spawn, normal",
        _low("spawn", priority="normal", chunksize=1),
        "",
        "stdlib-spawn",
    ),
    "low-spawn-pipe": Peer(
        "LowPriorityProcessPoolExecutor, spawn, share_min_size=None",
        _low("spawn", share_min_size=None, chunksize=1),
        "",
        "stdlib-spawn",
    ),
    "low-spawn-auto": Peer(
        'LowPriorityProcessPoolExecutor, spawn, chunksize="auto"', _low("spawn", chunksize="auto"), "", "stdlib-spawn"
    ),
    "stdlib-fork": Peer("ProcessPoolExecutor, fork", _process(ProcessPoolExecutor, "fork"), "", ""),
    "low-fork": Peer("LowPriorityProcessPoolExecutor, fork", _low("fork", chunksize=1), "", "stdlib-fork"),
    "stdlib-thread": Peer("ThreadPoolExecutor", _executor(ThreadPoolExecutor), "", ""),
    "priority-thread": Peer("PriorityThreadPoolExecutor", _executor(PriorityThreadPoolExecutor), "", "stdlib-thread"),
    "pool": Peer("multiprocessing.Pool, spawn", _pool, "multiprocessing.pool", "stdlib-spawn"),
    "loky": Peer("loky", _loky, "loky", "stdlib-spawn"),
    "joblib": Peer("joblib", _joblib, "joblib", "stdlib-spawn"),
    "joblib-low": Peer(
        "joblib, backend nicefutures",
        functools.partial(_joblib, "nicefutures"),
        "nicefutures.integrations.joblib",
        "joblib",
    ),
    "pebble": Peer("pebble, spawn", _pebble, "pebble", "stdlib-spawn"),
}
