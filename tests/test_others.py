"""Busy programs of others are noticed, on a simulated machine with its own clock and on this one."""

import itertools
import os
import subprocess
import sys

import pytest

from marks import linux_only
from nicefutures import _others
from nicefutures._others import Others
from nicefutures._system.common import Usage
from patience import wait_until

ME = os.getpid()
SHELL, MAKE, WORKER, CHILD, OTHER, THREAD = range(1_000_001, 1_000_007)


class Machine:
    """Simulated processes and their CPU times."""

    def __init__(self):
        self.now = 0.0
        self.machine = 0.0
        self.usage = {}
        self.lists = 0
        self.starts = itertools.count()
        self.thread_lists = {}
        self.add(SHELL)
        self.add(ME, parent=SHELL)

    def add(self, pid, parent=SHELL, *, counts=True, threads=1):
        self.usage[pid] = Usage(next(self.starts), parent, 0.0, 0.0, threads, counts)

    def use(self, pid, seconds, *, children=0.0):
        self.machine += seconds
        was = self.usage[pid]
        changed = {"seconds": was.seconds + seconds, "of_children": was.of_children + children}
        self.usage[pid] = was._replace(**changed)

    def end(self, pid):
        """End a process; from now on, its time counts for its parent."""
        ended = self.usage.pop(pid)
        self.use(ended.parent, 0.0, children=ended.seconds + ended.of_children)

    # called by _others

    def busy_seconds(self):
        return self.machine

    def list_usage(self, pids=None):
        self.lists += pids is None
        return {pid: each for pid, each in self.usage.items() if pids is None or pid in pids}

    def list_threads(self, pid):
        return dict(self.thread_lists.get(pid, {}))


@pytest.fixture
def machine(monkeypatch):
    fake = Machine()
    monkeypatch.setattr(_others.backend, "activity", fake)
    monkeypatch.setattr(_others, "now", lambda: fake.now)
    return fake


def watch(machine, step, *, seconds=20.0, workers=()):
    """Do a step every 0.5 s; return the time at which others first count as busy, or None if they never do."""
    others = Others()
    for look in range(1, round(seconds * 2) + 1):
        machine.now += 0.5
        step(look)
        if others.are_busy(workers):
            return machine.now
    return None


def test_quiet(machine):
    """Others that use less than half a CPU are not busy, and nothing is listed."""
    machine.add(OTHER)
    assert watch(machine, lambda _: machine.use(OTHER, 0.2)) is None
    assert machine.lists == 0


def test_busy(machine):
    """A program that uses more counts as busy within 3 s, and no longer does 3 s after it stops computing."""
    machine.add(OTHER)
    machine.now = 7.0
    others = Others()
    found = []
    for look in range(40):
        machine.now += 0.5
        if look < 20:
            machine.use(OTHER, 0.4)
        found.append(others.are_busy([]))
    began = found.index(True)
    assert began <= 5
    assert all(found[began:20])
    assert not any(found[25:])


def test_by_turns(machine):
    """CPU time that is used by turns counts as its average over 2 s."""
    machine.add(OTHER)
    assert watch(machine, lambda look: machine.use(OTHER, 0.8 * (look % 2)))


@pytest.mark.parametrize("counts", [True, False])
def test_workers(machine, counts):
    """Workers at any priority do not count; nor do processes that they have started, nor this process."""
    machine.add(WORKER, parent=ME, counts=counts)
    machine.add(CHILD, parent=WORKER, counts=True)

    def step(_):
        for pid in (ME, WORKER, CHILD):
            machine.use(pid, 0.5)

    assert watch(machine, step, workers=[WORKER]) is None


def test_workers_that_end(machine):
    """The time of a worker that has ended does not count as its parent's."""
    pids = itertools.count(2_000_000)
    server = OTHER
    machine.add(server)
    workers = []

    def step(look):
        if look % 3 == 0 and workers:
            machine.end(workers.pop())
        if not workers:
            workers.append(next(pids))
            machine.add(workers[0], parent=server)
        machine.use(workers[0], 0.5)

    assert watch(machine, step, workers=workers, seconds=60) is None


def test_two_pools(machine):
    """Low-priority workers of another program never count: when they start, work or end, or when the program ends."""
    pids = itertools.count(2_000_000)
    machine.add(OTHER)
    workers = []

    def step(look):
        if look == 100:
            while workers:
                machine.end(workers.pop())
            machine.end(OTHER)
        if look >= 100:
            return
        if look % 7 == 0 and workers:
            machine.end(workers.pop())
        while len(workers) < 2:
            workers.append(next(pids))
            machine.add(workers[-1], parent=OTHER, counts=False)
        for pid in workers:
            machine.use(pid, 0.5)

    assert watch(machine, step, seconds=60) is None


def test_idle_threads(machine):
    """Threads at a low priority do not count; other threads of the same process do."""
    machine.add(OTHER, threads=2)
    threads = machine.thread_lists.setdefault(OTHER, {})
    threads[OTHER] = Usage(1, OTHER, 0.0, 0.0, 1, counts=True)
    threads[THREAD] = Usage(1, OTHER, 0.0, 0.0, 1, counts=False)

    def step(look):
        tid = OTHER if look > 40 else THREAD
        threads[tid] = threads[tid]._replace(seconds=threads[tid].seconds + 0.5)
        machine.use(OTHER, 0.5)

    assert watch(machine, step, seconds=40) > 20


def test_short_children(machine):
    """The time of many short processes counts for their parent, so a build is busy."""
    machine.add(MAKE)

    def step(_):
        machine.machine += 0.9
        machine.use(MAKE, 0.0, children=0.9)

    assert watch(machine, step) <= 3


def test_end_of_a_long_program(machine):
    """A program's whole time does not count as used when the program ends, even if its parent ends as well."""
    machine.add(MAKE)
    machine.add(OTHER, parent=MAKE)
    machine.use(OTHER, 1000.0)
    machine.add(CHILD)

    def step(look):
        machine.use(CHILD, 0.22 if look != 6 else 0.6)  # so that all processes are listed
        if look == 7:
            machine.end(OTHER)
            machine.end(MAKE)

    assert watch(machine, step) is None
    assert machine.lists


def test_number_of_an_ended_parent(machine):
    """On Windows, a program whose ended parent had the number that a worker has now is no child of that worker."""
    machine.add(OTHER, parent=WORKER)
    machine.add(WORKER, parent=ME)
    assert watch(machine, lambda _: machine.use(OTHER, 0.5), workers=[WORKER])


@pytest.mark.parametrize("cost", [0.002, 0.008, 0.05, 0.5])  # 2000 processes take 50 ms
def test_many_processes(machine, monkeypatch, cost):
    """A busy program is found in the same time, however many processes there are."""
    monkeypatch.setattr(_others.time, "thread_time", lambda: machine.lists * cost)
    machine.add(OTHER)
    assert watch(machine, lambda _: machine.use(OTHER, 0.5)) <= 3


@pytest.mark.parametrize("cost", [0.002, 0.008, 0.05])
def test_stale_answer(machine, monkeypatch, cost):
    """Another program at a low priority does not count, also right after a program that did."""
    monkeypatch.setattr(_others.time, "thread_time", lambda: machine.lists * cost)
    machine.add(OTHER)
    machine.add(CHILD, counts=False)
    others = Others()
    found = []
    for look in range(200):
        machine.now += 0.5
        machine.use(OTHER if look < 100 else CHILD, 0.5)
        found.append(others.are_busy([]))
    assert all(found[10:100])
    assert not any(found[134:])


@pytest.mark.parametrize(("cost", "share"), [(0.008, 0.0015), (0.05, 0.01), (0.5, 0.013)])
def test_budget(machine, monkeypatch, cost, share):
    """Listing the processes takes a small share of a CPU, and more only if there are very many."""
    monkeypatch.setattr(_others.time, "thread_time", lambda: machine.lists * cost)
    pids = itertools.count(2_000_000)
    machine.add(MAKE)

    def step(_):  # low-priority children that end cause list after list
        pid = next(pids)
        machine.add(pid, parent=MAKE, counts=False)
        machine.use(pid, 0.5)
        machine.end(pid)

    watch(machine, step, seconds=1000)
    assert 0 < machine.lists * cost < 1000 * share


@linux_only
def test_real_program():
    """A real program that computes counts as busy, perhaps together with other programs of this machine."""
    others = Others()
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        assert wait_until(lambda: others.are_busy([]))
    finally:
        process.kill()
        process.wait()
