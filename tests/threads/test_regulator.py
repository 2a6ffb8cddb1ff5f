"""The number of workers that may run depends on how their tasks use the GIL and the CPU."""

from types import SimpleNamespace

import pytest

from nicefutures._threads import regulator as module
from nicefutures._threads.gate import Gate, Worker
from nicefutures._threads.regulator import Beat, Regulator

pytestmark = pytest.mark.every_python

OTHER = 99


class Pool:
    """The regulator of a simulated pool that runs as many tasks as it may, in simulated time."""

    def __init__(self, monkeypatch, width=4):
        self.delays = {}
        accounting = SimpleNamespace(thread_cpu_delay=lambda tid: self.delays.get(tid, 0))
        monkeypatch.setattr(module, "backend", SimpleNamespace(accounting=accounting))
        self.gate = Gate()
        self.gate.width = width
        self.gate.reset_after_fork()
        self.regulator = Regulator(self.gate, 0.005)
        self.workers = [Worker(None, None) for _ in range(width)]
        for tid, worker in enumerate(self.workers):
            worker.native_id = tid

    @property
    def limit(self):
        return self.gate.limit

    def beat(
        self,
        seconds,
        *,
        each=0.0,
        total=None,
        other=0.0,
        free=False,
        told=True,
        delayed=0.0,
        running=None,
        libraries=0.0,
    ):
        """Simulate tasks that use `each` CPUs, together at most `total`, while other threads use some as well."""
        for _ in range(round(seconds / 0.01)):
            count = min(running or self.limit, self.limit)
            used = each if total is None else min(each, total / count)
            workers = {tid: self.workers[tid] for tid in range(count)}
            self.gate._workers = self.gate._running = workers
            used_s = {**dict.fromkeys(workers, used * 0.01), OTHER: other * 0.01} if told else {}
            for tid in workers:
                self.delays[tid] = self.delays.get(tid, 0) + round(delayed * 1e7)
            self.regulator.beat(Beat(0.01, free, used_s, libraries * 0.01))


@pytest.fixture
def pool(monkeypatch):
    return Pool(monkeypatch)


@pytest.mark.parametrize("drawing", [0.0, 0.02, 0.12, 0.3, 0.7])
def test_python(pool, drawing):
    """Tasks that need the GIL run one at a time, however much of it a window uses."""
    pool.beat(2, each=1, total=1 - drawing, other=drawing)
    assert pool.limit == 1
    assert pool.regulator.interval_s == pytest.approx(0.001)


def test_releases_gil(pool):
    """Tasks that release the GIL run in all workers after about a tenth of a second."""
    pool.beat(0.11, each=1, total=2, free=True)
    assert pool.limit == 4
    pool.beat(2, each=1, total=2)
    assert pool.limit == 4


def test_turns_to_python(pool):
    """If such tasks change to Python code, they run one at a time within a tenth of a second."""
    pool.beat(0.5, each=1, total=2, free=True)
    pool.beat(0.1, each=1, total=1)
    assert pool.limit == 1


def test_library_threads(pool):
    """Products whose BLAS threads fill the CPUs run in parallel; Python code after them runs one at a time, at once."""
    for _ in range(3):
        pool.beat(1, each=0.5, total=1, libraries=1.0, free=True)
        assert pool.limit == 4
        pool.beat(0.2, each=1, total=1)
        assert pool.limit == 1


def test_threads_of_a_window(pool):
    """While threads of a window's toolkit run, tasks that need the GIL run one at a time."""
    pool.beat(2, each=1, total=0.9, other=0.1, libraries=0.6)
    assert pool.limit == 1


@pytest.mark.parametrize(("demand", "needed"), [(0.05, 18), (0.5, 2), (0.67, 2)])
def test_waits_some_of_the_time(monkeypatch, demand, needed):
    """Workers are let in until the GIL is busy, and at most a few more. From time to time, fewer are tried."""
    pool = Pool(monkeypatch, width=20)
    limits = []
    for _ in range(80):
        busy = min(pool.limit * demand, 1.0)
        pool.beat(0.05, each=demand, total=1, free=busy < 0.9)
        limits.append(pool.limit)
    settled = limits[20:]
    assert max(settled) <= 2 * needed
    assert sum(limit >= needed for limit in settled) >= 0.7 * len(settled)


def test_waits_no_more(pool):
    """Workers whose tasks waited, and change to Python code, run one at a time again."""
    pool.beat(0.5, each=0.4, total=1, free=True)
    assert pool.limit > 1
    pool.beat(0.6, each=1, total=1)
    assert pool.limit == 1


def test_others_keep_the_gil(pool):
    """A task that uses no CPU counts as waiting, whichever thread keeps the GIL."""
    pool.beat(0.5, each=0.0, other=1)
    assert pool.limit == 4


def test_no_cpu(pool):
    """A worker that has the GIL but no CPU is not idle, however much of the CPU other programs use."""
    pool.beat(2, each=0.45, delayed=0.55)
    assert pool.limit == 1


def test_starved(pool):
    """A worker below BELOW_NORMAL that holds the GIL and gets no CPU at all is lifted, and no other is let in."""
    pool.gate.lift = lambda lifted: True
    pool.beat(1, each=0.001, delayed=0.99)
    assert pool.limit == 1
    assert pool.gate.lifted


def test_releases_gil_without_cpu(pool):
    """Tasks that release the GIL run in all workers, also if other programs leave them no CPU."""
    pool.beat(2, each=0.3, delayed=0.6, free=True)
    assert pool.limit == 4


def test_without_demand(monkeypatch):
    """The limit does not grow far beyond the number of tasks, because later tasks may be of another kind."""
    pool = Pool(monkeypatch, width=32)
    pool.beat(2, each=1, free=True, running=1)
    assert pool.limit <= 4
    pool.beat(2, each=0.3, free=True, running=1)
    assert pool.limit <= 4


def test_new_workers(monkeypatch):
    """While short tasks that use no CPU change their worker all the time, the limit stays near their number."""
    pool = Pool(monkeypatch, width=32)
    for number in range(40):
        worker = pool.workers[number % 4]
        pool.gate._workers = pool.gate._running = {worker.native_id: worker}
        pool.regulator.beat(Beat(0.02, True, {worker.native_id: 0.0, OTHER: 0.0}))
    assert 1 <= pool.limit <= 4


def test_not_told(pool):
    """If the system reports no CPU times, the limit depends on how often the GIL is free."""
    pool.beat(1, told=False)
    assert pool.limit == 1
    pool.beat(0.3, told=False, free=True)
    assert pool.limit == 4
    pool.beat(0.5, told=False)
    assert pool.limit == 1


def test_lifted(pool):
    """Workers below BELOW_NORMAL are lifted only while their tasks keep the GIL."""
    pool.gate.lift = lambda lifted: True
    pool.beat(0.2, each=1, total=1)
    assert pool.gate.lifted
    pool.beat(0.2, each=1, total=2, free=True)
    assert not pool.gate.lifted


def test_starving(pool):
    """Workers outside the gate are let in when no task has been taken for a quarter of a second, and no sooner."""
    pool.gate.put("task")
    parked = []
    pool.gate._parked = parked
    turn = SimpleNamespace(release=parked.clear)
    parked.append(turn)
    pool.beat(0.24, each=1, total=1)
    assert parked
    pool.beat(0.02, each=1, total=1)
    assert parked == []
    assert pool.limit == 1
