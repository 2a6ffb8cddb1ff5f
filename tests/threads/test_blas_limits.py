"""A thread pool limits the BLAS threads of the process if it is asked to, and only then."""

import gc
import threading

import pytest

from nicefutures import PriorityThreadPoolExecutor
from patience import wait_until
from using import blas_threads


@pytest.fixture
def loaded_blas():
    """NumPy's BLAS with two threads; skips where there is none that threadpoolctl knows."""
    pytest.importorskip("numpy")
    from threadpoolctl import threadpool_limits

    before = blas_threads(100)
    if not before:
        pytest.skip("threadpoolctl knows no BLAS library here")
    with threadpool_limits(2, user_api="blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("this BLAS library does not take two threads")
        yield
    assert blas_threads() == before


@pytest.mark.parametrize("ending", ["shutdown", "no wait", "forgotten", "unused"])
def test_thread_pool_threads(loaded_blas, ending):
    """A thread pool limits the process's BLAS threads if asked to, and puts them back when it ends."""
    executor = PriorityThreadPoolExecutor(2, blas_threads=1)
    assert set(blas_threads()) == {1}
    if ending != "unused":
        assert set(executor.submit(blas_threads, 100).result()) == {1}
        assert {worker.blas_threads for worker in executor.workers()} == {1}
    if ending == "no wait":
        go = threading.Event()
        executor.submit(go.wait)
        executor.shutdown(wait=False)
        assert set(blas_threads()) == {1}  # for the task that runs
        go.set()
        executor.shutdown()
    elif ending == "forgotten":
        del executor
        gc.collect()
    else:
        executor.shutdown()
        executor.shutdown()
    wait_until(lambda: set(blas_threads()) == {2})


def test_thread_pools_overlap(loaded_blas):
    """Of several pools the lowest limit counts, in whatever order they end."""
    first = PriorityThreadPoolExecutor(1, blas_threads=1)
    second = PriorityThreadPoolExecutor(1, blas_threads=2)
    assert set(blas_threads()) == {1}
    first.shutdown()
    assert set(blas_threads()) == {2}
    second.shutdown()
    assert set(blas_threads()) == {2}


def test_thread_pool_leaves_the_user_alone(loaded_blas):
    """What the user sets meanwhile is not put back."""
    from threadpoolctl import threadpool_limits

    with PriorityThreadPoolExecutor(1, blas_threads=1):
        threadpool_limits(2, user_api="blas")
    assert set(blas_threads()) == {2}


class _Cycle:
    """Something that only the garbage collector takes away, and a pool with it."""

    def __init__(self):
        self.pool = PriorityThreadPoolExecutor(1, blas_threads=1)
        self.itself = self


def test_thread_pools_collected(loaded_blas):
    """Pools that the garbage collector finds, in the middle of whatever, give their limit up."""
    thresholds = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for _ in range(20):
            _Cycle()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert set(blas_threads()) == {2}


def test_thread_pool_default(loaded_blas):
    """By default a thread pool touches nothing."""
    with PriorityThreadPoolExecutor(2) as executor:
        assert set(executor.submit(blas_threads, 100).result()) == {2}
