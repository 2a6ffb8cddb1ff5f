"""Shared memory is freed with the last object that uses it, however that object ends."""

import contextlib
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import pytest

from asking import LINUX
from marks import linux_only, posix_only
from nicefutures import LowPriorityProcessPoolExecutor
from nicefutures._processes.transport.keeping import Keeping
from nicefutures._processes.transport.parent import Transport
from nicefutures._processes.transport.worker import WorkerEnd
from nicefutures._system import backend
from patience import PATIENCE
from programs import environment, run_python

np = pytest.importorskip("numpy")

from handing_over import become, end_worker, linger, make, same, shared, total, with_lock  # noqa: E402
from leftovers import MB, descriptors, ours, shared_of, wait_until_collected  # noqa: E402

pytestmark = pytest.mark.skipif(backend.sharing.find_shared_memory() is None, reason="nothing is shared on this system")


class SendsOne:
    """A sender that sends every first segment, and fails to send every second one."""

    def __init__(self, sender):
        self._sender, self._sent = sender, 0

    def send(self, segment):
        self._sent += 1
        if self._sent % 2 == 0:
            raise OSError
        return self._sender.send(segment)


@pytest.mark.every_python
@pytest.mark.usefixtures("nothing_shared")
class TestNothingIsLeft:
    """No segment outlives its task, result or process."""

    @linux_only
    def test_collected(self, context):
        """The memory of an array is freed with the last array that uses it."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            first, second = executor.submit(same, [np.zeros(MB), np.ones(MB)]).result()
            wait_until_collected(lambda: shared() == 2)
            part = second[5:10]
            del first
            wait_until_collected(lambda: shared() == 1)
            del second
            assert shared() == 1
            assert part.tolist() == [1] * 5
            del part
            wait_until_collected(lambda: ours() == 0)

    @linux_only
    def test_neighbours(self, context):
        """A part of a result that is kept does not keep the rest."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            large, small = executor.submit(same, {"field": np.zeros(20 * MB), "profile": np.ones(MB)}).result().values()
            before = memory_of_files()
            del large
            wait_until_collected(lambda: memory_of_files() <= before - 19 * 8 * MB)
            assert small[-1] == 1

    @linux_only
    def test_many_results(self):
        """Results that are kept do not need a descriptor each."""
        before = descriptors()
        with LowPriorityProcessPoolExecutor(2) as executor:
            results = list(executor.map(make, [MB // 2] * 300))
            assert descriptors() < before + 50
        assert [result[0] for result in results] == [1] * 300

    def test_forgotten(self, context):
        """Results that are never fetched leave nothing."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            for _ in range(20):
                executor.submit(same, np.zeros(MB))

    def test_cancelled(self, context):
        """Tasks that are cancelled, one by one or by a shutdown, leave nothing."""
        executor = LowPriorityProcessPoolExecutor(2, context)
        futures = [executor.submit(linger, np.zeros(MB), 0.05) for _ in range(20)]
        futures[10].cancel()
        futures[0].result()
        executor.shutdown(cancel_futures=True)
        assert any(future.cancelled() for future in futures)
        with contextlib.suppress(CancelledError):
            [future.result() for future in futures]
        del futures

    def test_without_waiting(self):
        """A shutdown without waiting leaves nothing."""
        executor = LowPriorityProcessPoolExecutor(2)
        futures = [executor.submit(linger, np.zeros(MB), 0.05) for _ in range(5)]
        executor.shutdown(wait=False)
        assert [future.result()[0] for future in futures] == [0] * 5

    def test_broken(self, context):
        """A worker that ends during a task leaves nothing."""
        with LowPriorityProcessPoolExecutor(2, context) as executor:
            futures = [executor.submit(same, np.zeros(MB)) for _ in range(5)]
            futures.append(executor.submit(end_worker, np.zeros(MB)))
            futures += [executor.submit(same, np.zeros(MB)) for _ in range(5)]
            with pytest.raises(BrokenProcessPool):
                futures[5].result()

    def test_second_one_cannot_be_sent(self):
        """If only the first segment of a result can be sent, it is freed, and the result arrives in the message."""
        memory = backend.sharing.find_shared_memory()
        transport = Transport(memory, 1, Keeping())
        worker, orphans = WorkerEnd(SendsOne(transport.worker_end._sender), memory, 1), []
        worker.connect(orphans.append)
        before = descriptors()
        for number in range(1, 51):
            data, _ = worker.pack([np.full(4 * MB // 8, float(number)), np.zeros(4 * MB // 8)])
            assert [array[0] for array in pickle.loads(data)] == [number, 0]
            assert len(orphans) == number
            transport.take_note(orphans[-1])
        assert descriptors() <= before
        transport.close()

    def test_replaced_workers(self):
        """A worker that is replaced ends only after its last result has arrived."""
        with LowPriorityProcessPoolExecutor(2, max_tasks_per_child=1) as executor:
            for result in executor.map(make, [MB] * 6):
                assert result[-1] == 1

    def test_unpicklable(self):
        """An object that cannot be pickled leaves nothing of an array that goes with it."""
        with LowPriorityProcessPoolExecutor(1) as executor:
            with pytest.raises(Exception, match="pickle"):
                executor.submit(same, [np.zeros(MB), threading.Lock()]).result()
            with pytest.raises(Exception, match="pickle"):
                executor.submit(with_lock, np.zeros(MB)).result()
            assert executor.submit(total, np.ones(MB)).result() == MB

    @posix_only
    @pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_random_kills(self, count):
        """Workers that are killed at random moments of a transfer leave nothing."""
        chance = random.Random(7)
        done = 0
        while done < count:
            with LowPriorityProcessPoolExecutor(2, share_min_size=1) as executor:
                futures = [executor.submit(same, np.full(chance.randrange(1, 5000), 3.0)) for _ in range(count // 10)]
                with contextlib.suppress(BrokenProcessPool):
                    futures[0].result()  # the worker has started
                killer = threading.Timer(chance.uniform(0, 0.4), _kill_one, (executor, chance))
                killer.start()
                for future in futures:
                    with contextlib.suppress(BrokenProcessPool):
                        assert future.result()[0] == 3
                        done += 1
                killer.join()


def memory_of_files():
    """Return how many bytes of shared memory this machine uses."""
    with open("/proc/meminfo", encoding="ascii") as file:
        (shmem,) = [line for line in file if line.startswith("Shmem:")]
    return int(shmem.split()[1]) * 1024


def _kill_one(executor, chance):
    chance.choice(list(executor._processes.values())).kill()


PROGRAM = """
import multiprocessing, os, sys, time
import numpy as np
from handing_over import linger
from nicefutures import LowPriorityProcessPoolExecutor
if __name__ == "__main__":
    context, seconds = multiprocessing.get_context(sys.argv[1]), float(sys.argv[2])
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        [future.result() for future in [executor.submit(linger, 0, 0.5) for _ in range(2)]]
        print(*[process.pid for process in executor._processes.values()], flush=True)
        kept = []
        while True:
            kept += executor.map(linger, [np.zeros(100_000)] * 4, [seconds] * 4)
            kept = kept[-20:]
"""


@posix_only
@pytest.mark.parametrize(
    ("how", "seconds"), [("kill", 0), ("kill", 1), pytest.param("interrupt", 0, marks=pytest.mark.every_python)]
)
def test_end_of_the_program(context, how, seconds, tmp_path):
    """A program that is killed or interrupted leaves no shared memory, and prints nothing about it."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, encoding="utf-8")
    before = set(os.listdir("/dev/shm")) if LINUX else set()
    with subprocess.Popen(
        [sys.executable, program, context.get_start_method(), str(seconds)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.3)
        if how == "kill":
            process.kill()
            # On Linux and Windows workers end with a killed parent; elsewhere a busy one ends after its task.
            wait_until_collected(lambda: sum(map(shared_of, workers)) == 0)
            for pid in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            said = process.stderr.read()
        else:
            os.killpg(process.pid, 2)
            said = process.communicate(timeout=PATIENCE)[1]
    assert "shared_memory" not in said  # the stdlib's tracker may report semaphores of a killed program
    if LINUX:
        names = set(os.listdir("/dev/shm")) - before
        # multiprocessing's prefix for shared memory; semaphores of other programs come and go.
        assert not [name for name in names if name.startswith("psm_")]


DROPPING = """
import signal, sys, time
from nicefutures._system import backend

segment = backend.sharing.find_shared_memory().create(2**20)
lost, count = [], 0
sys.unraisablehook = lost.append

def drop(number):
    views = [segment.view(0, 2**16) for _ in range(100)]
    signal.setitimer(signal.ITIMER_REAL, 0.0001 * (1 + number % 7))
    while views:
        views.pop()
    time.sleep(0.01)

signal.signal(signal.SIGALRM, signal.default_int_handler)
for number in range(100):
    try:
        drop(number)
    except KeyboardInterrupt:
        count += 1
print(count, len(lost))
"""


@linux_only
@pytest.mark.every_python
@pytest.mark.usefixtures("nothing_shared")
def test_interrupted_while_memory_is_unmapped():
    """Ctrl-C is not lost if it comes while the main thread drops arrays in shared memory."""
    assert run_python(DROPPING) == "100 0\n"


@linux_only
@pytest.mark.usefixtures("nothing_shared")
def test_other_user_ends():
    """If a worker of another user dies while it asks its parent for memory, no task waits forever."""
    if os.geteuid() != 0:
        pytest.skip("may not become another user")
    for _ in range(5):
        executor = LowPriorityProcessPoolExecutor(2, initializer=become, initargs=(65534,))
        futures = [executor.submit(total, np.ones(MB)) for _ in range(10)]
        assert futures[0].result() == MB
        _kill_one(executor, random)
        for future in futures:
            with contextlib.suppress(BrokenProcessPool):
                assert future.result(PATIENCE) == MB
        executor.shutdown()
