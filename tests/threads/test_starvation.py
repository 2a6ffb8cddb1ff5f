"""No task waits for endless tasks: a task that begins in the stdlib's pool also begins here."""

import asyncio
import contextlib
import functools
import threading
import time

import pytest

from marks import needs_gil, thorough
from nicefutures import PriorityThreadPoolExecutor
from patience import PATIENCE, wait_until
from tasks import compute

pytestmark = pytest.mark.every_python


class Loops:
    """Tasks that run Python code until they are told to stop, and never wait."""

    def __init__(self):
        self.ends = False
        self.begun = []

    def run(self):
        begun = False
        while not self.ends:
            if not begun:
                begun = self.begun.append(None) is None

    def end(self):
        self.ends = True


@contextlib.contextmanager
def busy_pool(workers, loops=1):
    """Yield a pool whose limit is low, because it runs endless tasks of Python code, and these tasks."""
    endless = Loops()
    with PriorityThreadPoolExecutor(workers, latency_target=0.005) as executor:
        try:
            for _ in range(loops):
                executor.submit(endless.run)
            wait_until(lambda: len(endless.begun) == loops)
            # Long enough for the pool to judge the tasks.
            time.sleep(0.5)
            yield executor, endless
        finally:
            endless.end()


@pytest.mark.parametrize("loops", [1, 3])
def test_setter(loops):
    """A task may end other tasks that poll without a pause."""
    with busy_pool(4, loops) as (executor, endless):
        executor.submit(endless.end).result(PATIENCE)


@needs_gil
def test_begins_anew():
    """After a rest, workers that had all been let in do not all take the next tasks."""
    meeting = threading.Barrier(4)
    running, most = set(), []

    def count():
        running.add(threading.get_ident())
        most.append(len(running))
        compute(0.001)
        running.discard(threading.get_ident())

    with PriorityThreadPoolExecutor(4, latency_target=0.005) as executor:
        for met in [executor.submit(meeting.wait, PATIENCE) for _ in range(4)]:
            met.result(PATIENCE)
        wait_until(lambda: executor.stats().limit == 1 and executor._gate.qsize() == 0)
        wait_until(lambda: len(executor._gate._parked) == 3)
        for counted in [executor.submit(count) for _ in range(8)]:
            counted.result(PATIENCE)
    assert max(most) == 1


def test_services():
    """Endless tasks that are started one after the other all run."""
    with busy_pool(6) as (executor, endless):
        for count in range(2, 7):
            executor.submit(endless.run)
            wait_until(lambda count=count: len(endless.begun) == count)


def test_services_at_once():
    """Endless tasks that are submitted while the pool lets one worker run all begin."""
    endless = Loops()
    with PriorityThreadPoolExecutor(6, latency_target=0.005) as executor:
        futures = [executor.submit(compute, 0.002) for _ in range(300)]
        try:
            futures += [executor.submit(endless.run) for _ in range(6)]
            wait_until(lambda: len(endless.begun) == 6)
        finally:
            endless.end()


def test_watchdog():
    """A task that waits, and then stops a computation in the same pool, is not blocked by it."""
    with busy_pool(4, 2) as (executor, endless):
        executor.submit(lambda: (time.sleep(0.05), endless.end())).result(PATIENCE)


def test_barrier_beside_loops():
    """Tasks that wait for each other all run, although other tasks never wait."""
    barrier = threading.Barrier(6)
    with busy_pool(8, 2) as (executor, _):
        for future in [executor.submit(barrier.wait) for _ in range(6)]:
            future.result(PATIENCE)


def test_short_tasks():
    """Short tasks that do not keep the GIL run in all other workers while one task keeps it."""
    with busy_pool(5) as (executor, _):
        together = threading.Barrier(4)
        for _ in range(20):
            for future in [executor.submit(together.wait) for _ in range(4)]:
                future.result(PATIENCE)


def test_name_lookup():
    """The default executor of asyncio looks up a host name while an endless task runs."""
    endless = Loops()

    async def main():
        loop = asyncio.get_running_loop()
        executor = PriorityThreadPoolExecutor(latency_target=0.005)
        loop.set_default_executor(executor)
        running = loop.run_in_executor(None, endless.run)
        try:
            await asyncio.sleep(0.5)
            found = await asyncio.wait_for(loop.getaddrinfo("127.0.0.1", 80), PATIENCE)
        finally:
            endless.end()
        await running
        return found

    assert asyncio.run(main())


@needs_gil
def test_recursion():
    """Tasks that wait for tasks of their own finish if there are enough workers."""
    with PriorityThreadPoolExecutor(40, latency_target=0.005) as executor:

        def total(low, high):
            if high - low <= 2000:
                return sum(i & 3 for i in range(low, high))
            middle = (low + high) // 2
            left = executor.submit(total, low, middle)
            return total(middle, high) + left.result(PATIENCE)

        assert executor.submit(total, 0, 40_000).result(PATIENCE) == sum(i & 3 for i in range(40_000))


@needs_gil
@thorough
@pytest.mark.alone
def test_mostly_waiting():
    """Several tasks that mostly wait run at once, and continue to do so."""

    def run(_):
        time.sleep(0.02)
        compute(0.002)

    with PriorityThreadPoolExecutor(8, latency_target=0.005) as executor:
        for _ in executor.map(run, range(400)):
            pass
        seen = []
        for _ in executor.map(lambda _: (run(None), seen.append(executor.stats().limit)), range(200)):
            pass
    assert sum(seen) / len(seen) > 4


@needs_gil
def test_long_tasks():
    """Tasks that take longer than the longest allowed wait of a task run in parallel in all workers."""
    with PriorityThreadPoolExecutor(3, latency_target=0.005) as executor:
        done = [executor.submit(compute, 0.004) for _ in range(200)]
        together = threading.Barrier(3)
        meet = functools.partial(together.wait, PATIENCE)
        futures = [executor.submit(lambda: (compute(0.3), meet(), compute(0.3))) for _ in range(3)]
        for future in [*done, *futures]:
            future.result(PATIENCE)
