"""`workers` reports the same about an executor's workers as the system."""

import dataclasses
import os
import threading

import psutil
import pytest

from asking import LINUX
from marks import linux_only
from nicefutures import (
    LowPriorityProcessPoolExecutor,
    PriorityThreadPoolExecutor,
    ProcessPriority,
    ThreadPriority,
    WorkerInfo,
)
from patience import PATIENCE
from tasks import identify, meet

pytestmark = pytest.mark.every_python


def test_workers_of_a_process_pool(context, tmp_path):
    """The workers of a process pool are reported as the system reports them."""
    with LowPriorityProcessPoolExecutor(2, context, priority="below_normal") as executor:
        assert executor.workers() == [] or context.get_start_method() == "fork"
        pids = set(executor.map(meet, [tmp_path] * 2, [2] * 2))
        found = executor.workers()
        assert {worker.pid for worker in found} == pids
        for worker in found:
            process = psutil.Process(worker.pid)
            assert worker.tid is None
            assert worker.priority is ProcessPriority.BELOW_NORMAL
            assert worker.threads == process.num_threads()
            assert worker.rss == pytest.approx(process.memory_info().rss, rel=0.2)
            if LINUX:
                assert worker.io_class == "best-effort"
    assert executor.workers() == []


def test_workers_of_a_thread_pool():
    """Worker threads are reported with the memory and the number of threads of their process."""
    with PriorityThreadPoolExecutor(2) as executor:
        assert executor.workers() == []
        barrier = threading.Barrier(2)
        tids = set(executor.map(lambda _: (barrier.wait(PATIENCE), threading.get_native_id())[1], range(2)))
        found = executor.workers()
        assert {worker.tid for worker in found} == tids
        for worker in found:
            assert worker.pid == os.getpid()
            assert worker.priority is ThreadPriority.BELOW_NORMAL
            assert worker.threads >= 3
            assert worker.rss == pytest.approx(psutil.Process().memory_info().rss, rel=0.2)
    assert executor.workers() == []


def test_worker_info_is_frozen():
    """A WorkerInfo cannot be changed."""
    info = WorkerInfo(1, None, ProcessPriority.IDLE, 1, None, 1, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.pid = 2


@linux_only
@pytest.mark.parametrize(
    ("priority", "io_class"), [("idle", "idle"), ("below_normal", "best-effort"), ("normal", "none")]
)
def test_io_class(priority, io_class):
    """The I/O class follows from the level."""
    with LowPriorityProcessPoolExecutor(1, priority=priority) as executor:
        executor.submit(identify).result()
        (worker,) = executor.workers()
        assert worker.io_class == io_class
        if priority == "below_normal":
            assert psutil.Process(worker.pid).ionice().value >= 6
