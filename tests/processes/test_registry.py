"""The registry of workers, with fake workers that are not processes."""

import concurrent.futures
import contextlib
import errno
import itertools
import multiprocessing
import os
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from nicefutures import ProcessPriority
from nicefutures._processes import pool as registry
from nicefutures._processes.handle import State
from nicefutures._processes.pool import Pool
from nicefutures._processes.task import StoppedError, Task, Threads
from nicefutures._processes.worker_main import OnStart
from patience import PATIENCE

WIDTH = 3


class FakeProcess:
    numbers = itertools.count(1000)

    def __init__(self):
        self.pid, self.exitcode = next(self.numbers), 0  # with a status, the pool finds it ended at once

    def join(self, timeout=None):
        pass

    terminate = join


class Demands(NamedTuple):
    priority: ProcessPriority


class Start(NamedTuple):
    context: Any
    demands: Demands
    on_start: OnStart


class Plan(NamedTuple):
    """The part of a plan that a pool needs."""

    start: Start
    max_tasks: int | None
    warn: Callable[..., object]
    warned: list[Any]
    max_workers: int = WIDTH
    packing: Any = SimpleNamespace(entered=contextlib.nullcontext, announce=lambda _: None)
    at_rest: Callable[[], None] = bool
    at_end: tuple[Any, ...] = ()


class FakeWorker:
    """The part of a worker that a pool needs; it starts slowly, and sometimes fails to start."""

    chance = random.Random(1)
    is_held = asks = is_still = False
    level = ProcessPriority.IDLE
    there: set["FakeWorker"]

    def __init__(self, at_wait):
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

    def join(self):
        pass


@pytest.fixture
def make(monkeypatch):
    """Return a function that makes a pool of fake workers."""
    monkeypatch.setattr(registry, "Worker", FakeWorker)
    FakeWorker.there = set()
    pools, warned = [], []

    def make_pool(max_tasks=None):
        start = Start(multiprocessing.get_context("spawn"), Demands(ProcessPriority.IDLE), OnStart(None, ()))
        pools.append(Pool(Plan(start, max_tasks, warned.append, warned)))
        return pools[-1]

    yield make_pool
    for each in pools:
        each.close()
    assert not FakeWorker.there


def lease(pool, task):
    """Lease a worker; if its start fails, try again."""
    while True:
        with contextlib.suppress(BlockingIOError, KeyboardInterrupt):
            return pool.lease(task)


def test_levels_while_a_worker_starts(make):
    """A worker that starts at a lower priority than the pool has in the end is replaced after its task."""
    pool = make()
    worker = lease(pool, Task(None))
    pool.set_level(ProcessPriority.NORMAL)
    pool.set_level(ProcessPriority.BELOW_NORMAL)
    assert worker.is_spent
    pool.set_level(ProcessPriority.IDLE)
    assert not worker.is_spent
    pool.give_back(worker)


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


class ScarceWorker(FakeWorker):
    """A worker of a system that gives at most `most` processes."""

    most = 1

    def start(self, start, lifeline):
        if len(self.there) >= self.most:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        self.process = FakeProcess()
        self.there.add(self)


def test_no_more_workers(make, monkeypatch):
    """If the system gives fewer workers than wanted, tasks wait for one of them; without any worker they fail."""
    monkeypatch.setattr(registry, "Worker", ScarceWorker)
    pool = make()
    worker = pool.lease(Task(None))
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(pool.lease, Task(None))
        while not pool._waiting:
            time.sleep(0.001)
        pool.give_back(worker)
        assert waiting.result(PATIENCE) is worker
    assert pool.plan.warned[0].text.startswith(
        "Could not fully set max_workers=3: Too many open files. It is now at max_w"
    )
    worker.finish()
    pool.lose(worker)
    monkeypatch.setattr(ScarceWorker, "most", 0)
    with pytest.raises(OSError, match=r"No worker process could be started: Too many open files\. .*\(ulimit -n\)"):
        pool.lease(Task(None))


def test_stopped_before_its_lease(make):
    """A task that was stopped gets no worker, and none starts for it."""
    pool = make()
    task = Task(None)
    task.stop()
    with pytest.raises(StoppedError):
        lease(pool, task)
    assert not pool._leased
    assert not pool._free


def test_broken_while_somebody_waits(make):
    """A thread that waits for a worker gets an error when the pool breaks."""
    pool = make()
    pool._starting = WIDTH  # other threads are starting all workers
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
    """The first thread that sets the verdict of a task wins, and only this thread ends the worker."""

    class Worker:
        stops = 0

        def stop(self):
            self.stops += 1

    for _ in range(200):
        worker, task, results = Worker(), Task(None), []
        task.lease(worker.stop)
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


@pytest.mark.every_python
def test_stopped_at_once():
    """A task that is stopped before `submit` has returned is cancelled, and its future says so."""

    def stop():
        raise StoppedError

    with Threads(2) as threads:
        for future in [threads.submit(stop) for _ in range(300)]:
            with pytest.raises(concurrent.futures.CancelledError):
                future.result()
            assert future.cancelled()
        assert threads.submit(abs, -1).result() == 1
