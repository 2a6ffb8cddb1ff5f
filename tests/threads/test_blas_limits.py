"""A thread pool limits the BLAS threads of the process only if `blas_threads` is given."""

import gc
import threading

import pytest

from nicefutures import PriorityThreadPoolExecutor
from patience import wait_until
from using import blas_threads


@pytest.fixture
def loaded_blas():
    """Give NumPy's BLAS two threads; skip the test if threadpoolctl knows no BLAS here."""
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
    """A pool with `blas_threads` limits the BLAS threads of the process, and restores them when it ends."""
    executor = PriorityThreadPoolExecutor(2, blas_threads=1)
    assert set(blas_threads()) == {1}
    if ending != "unused":
        assert set(executor.submit(blas_threads, 100).result()) == {1}
        assert {worker.blas_threads for worker in executor.workers()} == {1}
    if ending == "no wait":
        go = threading.Event()
        executor.submit(go.wait)
        executor.shutdown(wait=False)
        assert set(blas_threads()) == {1}  # while the task runs
        go.set()
        executor.shutdown()
    elif ending == "forgotten":
        del executor
        gc.collect()
    else:
        executor.shutdown()
        executor.shutdown()
    wait_until(lambda: set(blas_threads()) == {2})


def test_wrong_argument(loaded_blas):
    """A pool with a wrong argument limits nothing."""
    with pytest.raises(ValueError, match="idle_after") as raised:
        PriorityThreadPoolExecutor(1, blas_threads=1, idle_after=-1)
    assert set(blas_threads()) == {2}, raised  # the error, which keeps the executor, is alive


def test_thread_pools_overlap(loaded_blas):
    """The lowest limit of the open pools counts."""
    first = PriorityThreadPoolExecutor(1, blas_threads=1)
    second = PriorityThreadPoolExecutor(1, blas_threads=2)
    assert set(blas_threads()) == {1}
    first.shutdown()
    assert set(blas_threads()) == {2}
    second.shutdown()
    assert set(blas_threads()) == {2}


def test_thread_pool_leaves_the_user_alone(loaded_blas):
    """A number that the user sets meanwhile stays."""
    from threadpoolctl import threadpool_limits

    with PriorityThreadPoolExecutor(1, blas_threads=1):
        threadpool_limits(2, user_api="blas")
    assert set(blas_threads()) == {2}


class _Cycle:
    """A reference cycle with a pool, which only the garbage collector removes."""

    def __init__(self):
        self.pool = PriorityThreadPoolExecutor(1, blas_threads=1)
        self.itself = self


def test_thread_pools_collected(loaded_blas):
    """Pools that the garbage collector removes, at any point of the code, release their limit."""
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
    """By default a thread pool does not change the BLAS threads."""
    with PriorityThreadPoolExecutor(2) as executor:
        assert set(executor.submit(blas_threads, 100).result()) == {2}
