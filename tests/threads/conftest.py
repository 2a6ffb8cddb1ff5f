"""Fixtures of several tests of the thread pool."""

import functools
import threading

import pytest

from feeding import Feed
from nicefutures import PriorityThreadPoolExecutor
from nicefutures._threads.gil import has_gil
from tasks import compute


@pytest.fixture
def noise():
    """Run a thread outside the pool that computes Python code without a pause."""
    ends = threading.Event()

    def run():
        while not ends.is_set():
            compute(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    ends.set()
    thread.join()


@pytest.fixture
def gated():
    """Yield a pool that lets one worker run at the moment, and keeps getting tasks that keep the GIL."""
    with (
        PriorityThreadPoolExecutor(4, latency_target=0.005) as executor,
        Feed(executor, functools.partial(compute, 0.002)) as feed,
    ):
        if has_gil():
            executor._gate.set_limit(1)
        yield executor
        del feed
