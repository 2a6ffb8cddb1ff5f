"""`on_crash`: a worker that dies costs its task, or nothing."""

import contextlib
import functools
import gc
import os
import pickle
import random
import signal
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from asking import WINDOWS
from nicefutures import LowPriorityProcessPoolExecutor, WorkerCrashError
from nicefutures._processes import attempt
from patience import PATIENCE, wait_until
from tasks import hold_until, identify, same

MB = 2**20


def crash_at(number, place, how):
    if number == place:
        crash(how)
    return number


def crash(how):
    if how == "exit":
        os._exit(3)
    elif how == "kill":
        psutil.Process().kill()
        time.sleep(PATIENCE)
    else:
        os.kill(os.getpid(), signal.SIGSEGV)


def crash_with(counter):
    os._exit(3)


def crash_if(*, tells):
    os._exit(3) if tells else None


def crash_until(path, times):
    """Crash `times` times, and then return the number of calls."""
    with open(path, "a", encoding="ascii") as file:
        file.write("x")
    if os.path.getsize(path) <= times:
        os._exit(3)
    return os.path.getsize(path)


def count_calls(path, number):
    with open(path / str(number), "a", encoding="ascii") as file:
        file.write("x")
    if number == 7 and os.path.getsize(path / str(number)) == 1:
        os._exit(3)
    return number


WORDS = {
    "exit": "exit status 3",
    "kill": "SIGTERM" if WINDOWS else "killed",  # multiprocessing's name for the status that TerminateProcess leaves
    "segfault": "SIGSEGV",
}
HOW = ["exit", "kill", pytest.param("segfault", marks=pytest.mark.skipif(WINDOWS, reason="a signal"))]


@pytest.mark.every_python
@pytest.mark.parametrize("how", HOW)
def test_fail(context, how):
    """Only the task that crashes is lost: its error names the task and the kind of crash. The other 59 return."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="fail") as executor:
        futures = [executor.submit(crash_at, number, 7, how) for number in range(60)]
        error = futures.pop(7).exception(PATIENCE)
        assert [future.result(PATIENCE) for future in futures] == [*range(7), *range(8, 60)]
        assert isinstance(error, WorkerCrashError)
        assert "test_crashes.crash_at" in str(error)
        if not (WINDOWS and how == "kill"):
            assert WORDS[how] in str(error)
        assert error.pid not in executor._processes
        assert error.exitcode not in (0, None)
        copy = pickle.loads(pickle.dumps(error))
        assert (str(copy), copy.pid, copy.exitcode) == (str(error), error.pid, error.exitcode)


@pytest.mark.every_python
def test_status_of_windows():
    """The error explains the exit status of a crash on Windows in words."""
    with LowPriorityProcessPoolExecutor(1, on_crash="fail") as executor:
        error = executor.submit(os._exit, 0xC0000005 - 2**32).exception(PATIENCE)
    if WINDOWS:
        assert error.exitcode == 0xC0000005
        assert "0xc0000005: an access violation" in str(error)
    else:
        assert "exit status 5." in str(error)


@pytest.mark.every_python
@pytest.mark.parametrize("times", [1, 2])
def test_retry(context, tmp_path, times, caplog):
    """A task whose worker dies runs again on another one, and the log says so."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry") as executor:
        future = executor.submit(crash_until, tmp_path / "crashes", times)
        assert list(executor.map(same, range(20))) == list(range(20))
        assert future.result(PATIENCE) == times + 1
    assert len(caplog.messages) == times
    assert all("crash_until died. " in each and each.endswith(" runs again.") for each in caplog.messages)


def test_third_crash(context, tmp_path):
    """A task that kills every worker runs three times only."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry") as executor:
        future = executor.submit(crash_until, tmp_path / "crashes", 100)
        assert isinstance(future.exception(PATIENCE), WorkerCrashError)
        assert (tmp_path / "crashes").stat().st_size == 3
        assert executor.submit(same, 1).result(PATIENCE) == 1


@pytest.mark.every_python
def test_break(context):
    """By default the pool breaks, as the standard library's pool does."""
    with LowPriorityProcessPoolExecutor(2, context) as executor:
        error = executor.submit(crash, "exit").exception(PATIENCE)
        assert type(error) is BrokenProcessPool
        with pytest.raises(BrokenProcessPool):
            executor.submit(same, 1)


@pytest.mark.every_python
@pytest.mark.parametrize(("chunksize", "buffersize"), [(1, None), (10, None), (100, 3), ("auto", None), ("auto", 3)])
def test_map_with_retries(chunksize, buffersize, tmp_path):
    """A retry makes the results of a map complete, and does not repeat the finished calls of a chunk."""
    with LowPriorityProcessPoolExecutor(2, on_crash="retry") as executor:
        call = functools.partial(count_calls, tmp_path)
        assert list(executor.map(call, range(40), chunksize=chunksize, buffersize=buffersize)) == list(range(40))
    assert [(tmp_path / str(number)).stat().st_size for number in range(40)] == [1] * 7 + [2] + [1] * 32


@pytest.mark.parametrize("chunksize", [1, 10, 100, "auto"])
def test_map_without_retries(chunksize):
    """Only the call that crashes is lost, and no other of its chunk."""
    with LowPriorityProcessPoolExecutor(2, on_crash="fail") as executor:
        call = functools.partial(crash_at, place=7, how="exit")
        results = list(executor.map(call, range(40), chunksize=chunksize, return_exceptions=True))
        assert isinstance(results[7], WorkerCrashError)
        assert "crash_at" in str(results[7])
        assert results[:7] + results[8:] == [*range(7), *range(8, 40)]
        results = executor.map(call, range(40), chunksize=chunksize)
        assert [next(results) for _ in range(7)] == list(range(7))
        with pytest.raises(WorkerCrashError):
            next(results)


def end_process():
    os._exit(5)


@pytest.mark.parametrize("on_crash", ["fail", "retry"])
def test_workers_that_die_while_they_start(context, on_crash, monkeypatch):
    """If no worker can start, the pool gives up after some attempts, and says why."""
    monkeypatch.setattr(attempt, "_MOST_LOST", 2)  # because each attempt takes time
    with LowPriorityProcessPoolExecutor(2, context, on_crash=on_crash, initializer=end_process) as executor:
        futures = [executor.submit(same, index) for index in range(4)]
        for future in futures:
            assert "exit status 5" in str(future.exception(PATIENCE))


@pytest.mark.every_python
@pytest.mark.parametrize("on_crash", ["fail", "retry"])
@pytest.mark.parametrize("size", [0, 10 * MB])
def test_killed_while_they_start(context, on_crash, size):
    """A worker that is killed while it starts, or while it receives a task, is replaced."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash=on_crash, share_min_size=None) as executor:
        futures = [executor.submit(len, bytes(size)) for _ in range(4)]
        for process in list(executor._processes.values()):
            process.kill()
        for future in futures:
            assert isinstance(future.exception(PATIENCE), WorkerCrashError | None)
        assert executor.submit(len, bytes(size)).result(PATIENCE) == size


@pytest.mark.parametrize("share_min_size", [None, "256 KiB"])
def test_killed_while_it_sends(context, share_min_size):
    """If a worker is killed while it sends a result, the task runs again."""
    with LowPriorityProcessPoolExecutor(1, context, on_crash="retry", share_min_size=share_min_size) as executor:
        for delay in (0.01, 0.03, 0.06):
            pid = executor.submit(identify).result(PATIENCE)
            future = executor.submit(bytes, 100 * MB)
            time.sleep(delay)
            if pid in executor._processes:
                executor._processes[pid].kill()
            assert len(future.result(PATIENCE)) == 100 * MB


def test_killed_while_idle(context):
    """An idle worker that is killed is replaced, as often as that happens."""
    with LowPriorityProcessPoolExecutor(1, context, on_crash="fail") as executor:
        pids = set()
        for _ in range(4):
            pid = executor.submit(identify).result(PATIENCE)
            pids.add(pid)
            process = executor._processes[pid]
            process.kill()
            process.join()
        assert len(pids) == 4


@pytest.mark.every_python
def test_initializer_that_fails(context):
    """An initializer that raises breaks the pool, whatever `on_crash` says about tasks."""
    with LowPriorityProcessPoolExecutor(2, context, on_crash="retry", initializer=int, initargs=("x",)) as executor:
        error = executor.submit(same, 1).exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool)
        assert isinstance(error.__cause__, ValueError)


class Storm(threading.Thread):
    """A thread that kills one worker after the other, until the end of its block."""

    def __init__(self, executor, seed, interval):
        super().__init__()
        self._executor, self._chance, self._interval = executor, random.Random(seed), interval
        self._over = threading.Event()
        self.kills = 0

    def run(self):
        while not self._over.wait(self._interval):
            processes = list((self._executor._processes or {}).values())
            if processes:
                self._chance.choice(processes).kill()
                self.kills += 1

    def __exit__(self, *_):
        self._over.set()
        self.join()

    def __enter__(self):
        self.start()
        return self


def seconds_to_start(executor):
    """Return how long a worker needs to start: even on a busy machine some workers must live long enough for a task."""
    began = time.monotonic()
    executor.submit(sized, 1).result(PATIENCE)  # the worker imports this module for it
    return time.monotonic() - began


def sized(number):
    return number, bytes([number % 256]) * (number * 7919 % MB)


@pytest.mark.parametrize("tasks", [150, pytest.param(4000, marks=pytest.mark.soak)])
def test_storm(context, tasks):
    """While workers are killed one after the other, all results are correct and in order, and no descriptor is left."""
    this = psutil.Process()
    with LowPriorityProcessPoolExecutor(1, context) as executor:  # opens the descriptors that multiprocessing keeps
        executor.submit(same, 1).result(PATIENCE)
    before = this.num_fds() if hasattr(this, "num_fds") else 0
    pool = LowPriorityProcessPoolExecutor(4, context, on_crash="retry", priority="normal")
    with pool as executor, Storm(executor, 7, max(0.15, seconds_to_start(executor))):
        for number, (found, data) in enumerate(executor.map(sized, range(tasks), buffersize=50)):
            assert found == number
            assert (len(data), data[:1] or bytes([number % 256])) == (number * 7919 % MB, bytes([number % 256]))
    gc.collect()
    wait_until(lambda: (this.num_fds() if hasattr(this, "num_fds") else 0) <= before)


@pytest.mark.every_python
@pytest.mark.parametrize("count", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_shutdown_in_a_storm(context, count):
    """The shutdown of a pool ends, although its workers are being killed."""
    for seed in range(count):
        with (
            LowPriorityProcessPoolExecutor(4, context, on_crash="retry") as executor,
            Storm(executor, seed, max(0.02, seconds_to_start(executor) / 2)),
        ):
            futures = [executor.submit(sized, number) for number in range(100)]
            time.sleep(0.1)
            executor.shutdown(cancel_futures=True)
        for number, future in enumerate(futures):
            with contextlib.suppress(CancelledError, WorkerCrashError):
                assert future.result(0)[0] == number


@pytest.mark.parametrize("wrong", ["ignore", None, True, "Break"])
def test_wrong_on_crash(wrong):
    """The error names the allowed values."""
    with pytest.raises(ValueError, match="'break', 'fail' or 'retry'"):
        LowPriorityProcessPoolExecutor(1, on_crash=wrong)


def test_forgotten_while_it_retries(context, tmp_path):
    """A pool to which nothing refers any more still finishes its tasks."""
    gate = tmp_path / "gate"
    executor = LowPriorityProcessPoolExecutor(1, context, on_crash="retry")
    first = executor.submit(hold_until, gate)
    future = executor.submit(crash_until, tmp_path / "crashes", 1)
    del executor
    gate.touch()
    first.result(PATIENCE)
    assert future.result(PATIENCE) == 2


@pytest.mark.every_python
@pytest.mark.parametrize("on_crash", ["break", "fail", "retry"])
def test_error_keeps_nothing(on_crash):
    """A stored error does not keep the arguments of its task in memory."""
    with LowPriorityProcessPoolExecutor(1, on_crash=on_crash) as executor:
        counter = Counter()  # a Counter supports weak references
        gone = weakref.ref(counter)
        error = executor.submit(crash_with, counter).exception(PATIENCE)
        assert isinstance(error, BrokenProcessPool if on_crash == "break" else WorkerCrashError)
    del counter
    assert gone() is None


def test_keyword_of_the_users():
    """A task may have a keyword argument whose name the pool uses internally."""
    with LowPriorityProcessPoolExecutor(1, on_crash="fail") as executor:
        assert isinstance(executor.submit(crash_if, tells=True).exception(PATIENCE), WorkerCrashError)
