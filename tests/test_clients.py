"""Existing clients of executors work unchanged."""

import asyncio
import functools
import multiprocessing

import pytest

from asking import PROCESS, THREAD, ask_thread, report
from nicefutures import (
    LowPriorityProcessPoolExecutor,
    PriorityThreadPoolExecutor,
    ProcessPriority,
    ThreadPriority,
    get_process_priority,
    get_thread_priority,
    set_process_priority,
    set_thread_priority,
)
from tasks import call, rosenbrock, rosenbrock_residuals, wave

IDLE = {PROCESS[ProcessPriority.IDLE]}


pools = pytest.mark.parametrize("pool", [LowPriorityProcessPoolExecutor, PriorityThreadPoolExecutor])


@pools
def test_differential_evolution(pool):
    """SciPy's differential_evolution gives bit for bit the result of the serial run."""
    optimize = pytest.importorskip("scipy.optimize")
    solve = functools.partial(
        optimize.differential_evolution,
        rosenbrock,
        [(-2, 2)] * 3,
        maxiter=20,
        seed=1,
        updating="deferred",
        polish=False,
    )
    serial = solve()
    with pool(2) as executor:
        parallel = solve(workers=executor.map)
    assert parallel.x.tobytes() == serial.x.tobytes()
    assert (parallel.fun, parallel.nfev, parallel.nit) == (serial.fun, serial.nfev, serial.nit)


@pools
def test_quad_vec(pool):
    """SciPy's quad_vec gives bit for bit the result of the serial run."""
    integrate = pytest.importorskip("scipy.integrate")
    solve = functools.partial(integrate.quad_vec, functools.partial(wave, k=30), 0, 10, epsabs=1e-12)
    serial, error = solve()
    with pool(2) as executor:
        assert solve(workers=executor.map) == (serial, error)


def test_least_squares():
    """SciPy's least_squares accepts the same `workers` from 1.16 on."""
    pytest.importorskip("scipy", minversion="1.16")
    from scipy import optimize

    start = [-1.0, 2.0, 0.5]
    serial = optimize.least_squares(rosenbrock_residuals, start)
    with LowPriorityProcessPoolExecutor(2) as executor:
        parallel = optimize.least_squares(rosenbrock_residuals, start, workers=executor.map)
    assert parallel.x.tobytes() == serial.x.tobytes()


@pytest.mark.every_python
def test_asyncio_process_pool():
    """run_in_executor runs a call at the level of the pool."""

    async def main(executor):
        return await asyncio.get_running_loop().run_in_executor(executor, report)

    with LowPriorityProcessPoolExecutor(1) as executor:
        assert set(asyncio.run(main(executor))[1]) == IDLE


@pytest.mark.every_python
def test_asyncio_default_executor():
    """The pool can be asyncio's default executor, which must be a ThreadPoolExecutor; asyncio shuts it down."""

    async def main():
        asyncio.get_running_loop().set_default_executor(PriorityThreadPoolExecutor(2, priority="idle"))
        return await asyncio.to_thread(get_thread_priority)

    assert asyncio.run(main()) == ThreadPriority.IDLE


@pytest.mark.parametrize(
    ("pool", "ask", "level", "lock"),
    [
        (LowPriorityProcessPoolExecutor, get_process_priority, ProcessPriority.IDLE, "mp_lock"),
        (PriorityThreadPoolExecutor, get_thread_priority, ThreadPriority.BELOW_NORMAL, "th_lock"),
    ],
)
def test_tqdm(pool, ask, level, lock, capsys, monkeypatch):
    """Tqdm's executor map, which passes a lock to its initializer, accepts our classes."""
    concurrent = pytest.importorskip("tqdm.contrib.concurrent")
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # a thread that stays
    found = concurrent._executor_map(
        pool, functools.partial(call, ask), range(6), max_workers=2, total=6, lock_name=lock
    )
    assert found == [level] * 6
    assert "/6 [" in capsys.readouterr().err  # the bar, which may miss its last step without a GIL


def test_joblib():
    """set_process_priority is an initializer for joblib's workers."""
    joblib = pytest.importorskip("joblib")
    from joblib.externals.loky import get_reusable_executor

    try:
        with joblib.parallel_config("loky", initializer=set_process_priority, initargs=("idle",)):
            found = joblib.Parallel(n_jobs=2)(joblib.delayed(report)(0.02) for _ in range(6))
        assert all(set(levels) == IDLE for _, levels in found)
        direct = joblib.Parallel(n_jobs=2, initializer=set_process_priority, initargs=("below_normal",))
        assert direct(joblib.delayed(get_process_priority)() for _ in range(4)) == [ProcessPriority.BELOW_NORMAL] * 4
    finally:
        get_reusable_executor().shutdown(wait=True)


@pytest.mark.every_python
def test_multiprocessing_pool(context):
    """set_process_priority is an initializer for multiprocessing.Pool, under every start method."""
    with context.Pool(2, initializer=set_process_priority, initargs=("idle",)) as pool:
        assert all(set(levels) == IDLE for _, levels in pool.map(report, [0.02] * 4, chunksize=1))
        pool.close()
        pool.join()


@pytest.mark.every_python
def test_stdlib_initializers():
    """The setters are initializers for the stdlib's own executors."""
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), set_process_priority, ("idle",)) as executor:
        assert set(executor.submit(report).result()[1]) == IDLE
    with ThreadPoolExecutor(1, initializer=set_thread_priority, initargs=("lowest",)) as executor:
        assert executor.submit(ask_thread).result() == THREAD[ThreadPriority.LOWEST]
