"""The registry of workers, with workers that are no processes."""

import contextlib
import itertools
import multiprocessing
import random
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace

import pytest

from nicefutures._processes import pool as registry
from nicefutures._processes.handle import State
from nicefutures._processes.pool import Pool
from nicefutures._processes.task import StoppedError, Task
from patience import PATIENCE

WIDTH = 3


class FakeProcess:
    numbers = itertools.count(1000)

    def __init__(self):
        self.pid, self.exitcode = next(self.numbers), None

    def join(self, timeout=None):
        self.exitcode = 0

    terminate = join


class FakeWorker:
    """What a pool needs of a worker; it starts slowly, and sometimes not."""

    chance = random.Random(1)
    there: set["FakeWorker"]

    def __init__(self):
        self.state, self.process, self.report = State.STARTING, None, None
        self.tasks, self.is_spent = 0, False

    @property
    def pid(self):
        return self.process.pid

    def start(self, start, lifeline):
        time.sleep(self.chance.random() * 0.002)
        if self.chance.random() < 0.05:
            raise BlockingIOError("no process")
        self.process = FakeProcess()
        self.there.add(self)
        if self.chance.random() < 0.05:
            raise KeyboardInterrupt

    def finish(self):
        self.there.discard(self)

    close = stop = finish


@pytest.fixture
def make(monkeypatch):
    """Return what makes a pool of such workers."""
    monkeypatch.setattr(registry, "Worker", FakeWorker)
    FakeWorker.there = set()
    pools = []

    def make_pool(max_tasks=None):
        start = SimpleNamespace(context=multiprocessing.get_context("spawn"), demands=None)
        packing = SimpleNamespace(entered=contextlib.nullcontext, announce=lambda _: None)
        plan = SimpleNamespace(
            start=start, max_workers=WIDTH, max_tasks=max_tasks, packing=packing, at_rest=lambda: None, at_end=[]
        )
        pools.append(Pool(plan))
        return pools[-1]

    yield make_pool
    for each in pools:
        each.close()
    assert not FakeWorker.there


def lease(pool, task):
    """Lease a worker, whatever its start is like."""
    while True:
        with contextlib.suppress(BlockingIOError, KeyboardInterrupt):
            return pool.lease(task)


def test_many_threads(make):
    """There are never too many workers, each has one task at a time, and none is lost."""
    pool = make(max_tasks=20)
    has: set[FakeWorker] = set()
    errors = []

    def work(seed):
        chance = random.Random(seed)
        try:
            for _ in range(150):
                pool.under_way.begin()
                worker = lease(pool, Task(None))
                assert worker.state is State.LEASED
                assert worker not in has
                has.add(worker)
                assert len(has) <= WIDTH
                there = len(pool._free) + len(pool._leased) + pool._starting
                assert there <= WIDTH
                time.sleep(chance.random() * 0.001)
                has.discard(worker)
                worker.tasks += 1
                if chance.random() < 0.1:
                    worker.finish()
                    pool.lose(worker)
                    assert worker.state is State.DYING
                else:
                    pool.give_back(worker)
                pool.under_way.end()
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(WIDTH)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        with contextlib.suppress(KeyboardInterrupt):
            pool.prepare()
        time.sleep(0.001)
    assert not errors
    assert not pool._leased
    assert not pool._starting
    assert all(worker.state in (State.STARTING, State.IDLE) for worker in pool._free)
    assert {worker.pid for worker in pool._free} == set(pool.processes)


def test_stopped_before_its_lease(make):
    """A task that was stopped gets no worker, and the worker stays."""
    pool = make()
    task = Task(None)
    task.stop()
    with pytest.raises(StoppedError):
        lease(pool, task)
    assert not pool._leased
    assert len(pool._free) == 1


def test_broken_while_somebody_waits(make):
    """Who waits for a worker learns that there will be none."""
    pool = make()
    pool._starting = WIDTH  # all are being started by others
    errors = []

    def wait():
        try:
            pool.lease(Task(None))
        except BrokenProcessPool as error:
            errors.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    while not pool._waiting:
        time.sleep(0.001)
    pool.abandon("broken")
    waiting.join(PATIENCE)
    pool._starting = 0
    assert errors == ["broken"]


def test_verdict_of_a_task():
    """The first one who says what becomes of a task wins, and only that one ends its worker."""

    class Worker:
        stops = 0

        def stop(self):
            self.stops += 1

    for _ in range(200):
        worker, task, results = Worker(), Task(None), []
        task.lease(worker)
        barrier = threading.Barrier(3)

        def stop(task=task, results=results, barrier=barrier):
            barrier.wait(PATIENCE)
            results.append(task.stop())

        threads = [threading.Thread(target=stop) for _ in range(2)]
        for thread in threads:
            thread.start()
        barrier.wait(PATIENCE)
        settled = task.settle()
        for thread in threads:
            thread.join(PATIENCE)
        assert results == [not settled] * 2
        assert worker.stops == (0 if settled else 1)
